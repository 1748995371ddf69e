"""Train the same architecture from random weights: a baseline that shows what pre-training is worth."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.methods.base import Method, Span

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel


class Scratch(Method):
    """Training from scratch."""

    summary: ClassVar[str] = "same architecture, random weights: what is pre-training worth?"
    weights: ClassVar[Literal["pretrained", "random"]] = "random"
    learning_rate: ClassVar[float] = 3e-4
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-5, 5e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"training.weight_decay": (0.0, 0.01, 0.1)}

    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Make every parameter trainable."""
        base.network.requires_grad_(True)
        return base.as_prepared()
