"""The same shape from random weights: the baseline that shows what pre-training was worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.anatomy import Anatomy
from finewright.methods.base import AbstractMethod, Span

if TYPE_CHECKING:
    from finewright.tuned import Origin, Tuned


class Method(AbstractMethod):
    """Training from scratch."""

    summary: ClassVar[str] = "same shape, random weights: what was pre-training worth?"
    python_name: ClassVar[str] = "Scratch"
    weights: ClassVar[Literal["pretrained", "random"]] = "random"
    lr: ClassVar[float] = 3e-4
    lr_range: ClassVar[tuple[float, float]] = (1e-5, 5e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"train.weight_decay": (0.0, 0.01, 0.1)}

    def prepare(self, network: Any, *, anatomy: Anatomy, head: tuple[str, ...], origin: "Origin") -> "Tuned":
        """Everything is trainable."""
        from finewright.tuned import Tuned

        network.requires_grad_(True)
        return Tuned(network=network, owner=network, anatomy=anatomy)

    def save(self, tuned: "Tuned", folder: Path) -> None:
        """A Hugging Face folder."""
        tuned.network.save_pretrained(folder)
