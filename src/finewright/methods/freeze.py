"""The lower blocks stay as they are; the top ones go on learning."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from finewright.core.config import option
from finewright.core.errors import UserError
from finewright.methods.base import Method, Span, freeze_all
from finewright.models.architectures.base import Architecture

if TYPE_CHECKING:
    from finewright.models.prepared import BaseModelRef, PreparedModel


class Freeze(Method):
    """Layer freezing."""

    summary: ClassVar[str] = "only the top blocks learn, what lies below is frozen"
    preference: ClassVar[int] = 30
    learning_rate: ClassVar[float] = 3e-4
    learning_rate_width: ClassVar[int | None] = 768
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-6, 3e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"method.trainable_fraction": Span(0.05, 0.8)}

    num_layers: int | None = option(
        None, "blocks at the top that are trained, with the final norm; 3, at most half of them", low=0
    )
    trainable_fraction: float = option(
        0.0, "instead of blocks: share of the model's parameters to train, nearest whole block; 0: off", low=0, high=1
    )
    embeddings: bool = option(False, "train the embeddings too")

    def prepare(
        self, network: Any, *, architecture: Architecture, head: tuple[str, ...], origin: "BaseModelRef"
    ) -> "PreparedModel":
        """Train the top blocks and all that comes after them."""
        from finewright.models.prepared import PreparedModel

        blocks = network.get_submodule(architecture.layers)
        num_top, notes = self._num_top(network, architecture=architecture)
        freeze_all(network, head=head)
        above = [network.get_submodule(name) for name in (architecture.final_norm, architecture.pooler) if name]
        for module in [*list(blocks)[len(blocks) - num_top :], *above]:
            module.requires_grad_(True)
        if self.embeddings:
            _embeddings_train(network, architecture=architecture)
        return PreparedModel(network=network, trainable_module=network, architecture=architecture, notes=notes)

    def _num_top(self, network: Any, *, architecture: Architecture) -> tuple[int, list[str]]:
        blocks = network.get_submodule(architecture.layers)
        if self.num_layers is not None and self.num_layers > len(blocks):
            raise UserError(
                f"wanted the top {self.num_layers} blocks trained, the model has {len(blocks)}",
                where="method.num_layers",
                fix=f"a number from 0 to {len(blocks)}",
            )
        if not self.trainable_fraction:
            num_top = min(3, max(1, len(blocks) // 2)) if self.num_layers is None else self.num_layers
            return num_top, [f"the top {num_top} of {len(blocks)} blocks are trained, what lies below is frozen"]
        body = network.get_submodule(architecture.body)
        total = sum(p.numel() for p in body.parameters())
        per_block = sum(p.numel() for p in blocks[0].parameters())
        num_top = min(max(round(self.trainable_fraction * total / per_block), 1), len(blocks))
        share = num_top * per_block / total
        note = f"top {num_top} blocks: {share:.1%} of the parameters is the nearest to {self.trainable_fraction:.1%}"
        return num_top, [f"{note} that whole blocks give"]

    def save(self, prepared_model: "PreparedModel", folder: Path) -> None:
        """A Hugging Face folder."""
        prepared_model.network.save_pretrained(folder)


def _embeddings_train(network: Any, *, architecture: Architecture) -> None:
    """Token, position and type embeddings: all of the body that is neither block nor above the blocks."""
    for name, parameter in network.named_parameters():
        above = tuple(f"{part}." for part in (architecture.final_norm, architecture.pooler) if part)
        if name.startswith(f"{architecture.body}.") and not name.startswith((f"{architecture.layers}.", *above)):
            parameter.requires_grad_(True)
