"""The lower blocks stay as they are; the top ones go on learning."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from finewright.anatomy import Anatomy
from finewright.errors import UserError
from finewright.methods.base import AbstractMethod, Span, freeze_all, knob

if TYPE_CHECKING:
    from finewright.tuned import Origin, Tuned


class Method(AbstractMethod):
    """Layer freezing."""

    summary: ClassVar[str] = "only the top blocks learn, what lies below is frozen"
    python_name: ClassVar[str] = "Freeze"
    preference: ClassVar[int] = 30
    lr: ClassVar[float] = 3e-4
    lr_width: ClassVar[int | None] = 768
    lr_range: ClassVar[tuple[float, float]] = (1e-6, 3e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"method.share": Span(0.05, 0.8)}

    blocks: int | None = knob(None, "blocks at the top that are trained, with the final norm; 3, at most half of them", low=0)
    share: float = knob(
        0.0, "instead of blocks: share of the model's parameters to train, nearest whole block; 0: off", low=0, high=1
    )
    embeddings: bool = knob(False, "train the embeddings too")

    def prepare(self, network: Any, *, anatomy: Anatomy, head: tuple[str, ...], origin: "Origin") -> "Tuned":
        """Train the top blocks and all that comes after them."""
        from finewright.tuned import Tuned

        blocks = network.get_submodule(anatomy.blocks)
        num_top, notes = self._num_top(network, anatomy=anatomy)
        freeze_all(network, head=head)
        above = [network.get_submodule(name) for name in (anatomy.final_norm, anatomy.pooler) if name]
        for module in [*list(blocks)[len(blocks) - num_top :], *above]:
            module.requires_grad_(True)
        if self.embeddings:
            _embeddings_train(network, anatomy=anatomy)
        return Tuned(network=network, owner=network, anatomy=anatomy, notes=notes)

    def _num_top(self, network: Any, *, anatomy: Anatomy) -> tuple[int, list[str]]:
        blocks = network.get_submodule(anatomy.blocks)
        if self.blocks is not None and self.blocks > len(blocks):
            raise UserError(
                f"wanted the top {self.blocks} blocks trained, the model has {len(blocks)}",
                where="method.blocks",
                fix=f"a number from 0 to {len(blocks)}",
            )
        if not self.share:
            num_top = min(3, max(1, len(blocks) // 2)) if self.blocks is None else self.blocks
            return num_top, [f"the top {num_top} of {len(blocks)} blocks are trained, what lies below is frozen"]
        body = network.get_submodule(anatomy.body)
        total = sum(p.numel() for p in body.parameters())
        per_block = sum(p.numel() for p in blocks[0].parameters())
        num_top = min(max(round(self.share * total / per_block), 1), len(blocks))
        note = f"top {num_top} blocks: {num_top * per_block / total:.1%} of the parameters is the nearest to {self.share:.1%}"
        return num_top, [f"{note} that whole blocks give"]

    def save(self, tuned: "Tuned", folder: Path) -> None:
        """A Hugging Face folder."""
        tuned.network.save_pretrained(folder)


def _embeddings_train(network: Any, *, anatomy: Anatomy) -> None:
    """Token, position and type embeddings: all of the body that is neither block nor above the blocks."""
    for name, parameter in network.named_parameters():
        above = tuple(f"{part}." for part in (anatomy.final_norm, anatomy.pooler) if part)
        if name.startswith(f"{anatomy.body}.") and not name.startswith((f"{anatomy.blocks}.", *above)):
            parameter.requires_grad_(True)
