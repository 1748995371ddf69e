"""Low-rank updates beside frozen weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.anatomy import Anatomy
from finewright.lowrank import LowRankKnobs, Start
from finewright.methods.base import AbstractMethod, Span, freeze_all, knob

if TYPE_CHECKING:
    from finewright.tuned import Origin, Tuned


class Method(AbstractMethod, LowRankKnobs):
    """LoRA (Hu et al. 2021, arXiv:2106.09685), through PEFT."""

    summary: ClassVar[str] = "low-rank updates beside frozen weights"
    python_name: ClassVar[str] = "LoRA"
    saves: ClassVar[Literal["model", "adapter"]] = "adapter"
    mergeable: ClassVar[bool] = True
    preference: ClassVar[int] = 10
    preference_reason: ClassVar[str] = "near full fine-tuning's accuracy with a small part of its memory and a small file"
    lr: ClassVar[float] = 1e-3
    lr_width: ClassVar[int | None] = 768
    lr_range: ClassVar[tuple[float, float]] = (1e-5, 1e-2)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {
        "method.rank": (4, 8, 16, 32),
        "method.alpha": (16.0, 32.0, 64.0),
        "method.dropout": (0.0, 0.05, 0.1),
    }

    init: Start = knob("default", "how the update starts")

    def prepare(self, network: Any, *, anatomy: Anatomy, head: tuple[str, ...], origin: "Origin") -> "Tuned":
        """PEFT's layers on the targets; slices of a fused projection are cut out of PEFT's layer."""
        from finewright import lowrank
        from finewright.tuned import Tuned

        freeze_all(network, head=head)
        base = (origin.name, origin.revision)
        owner = lowrank.wrap(network, knobs=self, anatomy=anatomy, head=head, base=base, start=self.init)
        tuned = Tuned(network=network, owner=owner, anatomy=anatomy)
        if self.init in ("pissa", "olora"):  # the start takes a part out of the frozen weights; a plain base needs it back
            tuned.start = {name: tensor.clone() for name, tensor in lowrank.factors(owner)}
            tuned.exact_reload = False
        return tuned

    def save(self, tuned: "Tuned", folder: Path) -> None:
        """A PEFT adapter folder that any PEFT loads on the plain base, and the config with the label names."""
        from finewright import lowrank

        lowrank.save(tuned.owner, folder, knobs=self, start=tuned.start)
