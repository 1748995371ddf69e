"""Every weight of the pre-trained model goes on learning."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from finewright.anatomy import Anatomy
from finewright.methods.base import AbstractMethod, Span

if TYPE_CHECKING:
    from finewright.tuned import Origin, Tuned


class Method(AbstractMethod):
    """Full fine-tuning."""

    summary: ClassVar[str] = "all weights go on learning"
    python_name: ClassVar[str] = "Full"
    preference: ClassVar[int] = 20
    lr: ClassVar[float] = 1e-4
    lr_width: ClassVar[int | None] = 768
    lr_range: ClassVar[tuple[float, float]] = (1e-6, 1e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"train.weight_decay": (0.0, 0.01, 0.1)}

    def prepare(self, network: Any, *, anatomy: Anatomy, head: tuple[str, ...], origin: "Origin") -> "Tuned":
        """Everything is trainable."""
        from finewright.tuned import Tuned

        network.requires_grad_(True)
        return Tuned(network=network, owner=network, anatomy=anatomy)

    def save(self, tuned: "Tuned", folder: Path) -> None:
        """A Hugging Face folder."""
        tuned.network.save_pretrained(folder)
