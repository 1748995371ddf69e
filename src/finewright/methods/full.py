"""Train all weights of the pre-trained model."""

from typing import TYPE_CHECKING, Any, ClassVar

from finewright.methods.base import Method, Span

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel

HALF_UPDATES_FROM = 100_000_000
"""Parameters of layers from which on few rows are learnt in half of the updates."""


class Full(Method):
    """Full fine-tuning."""

    summary: ClassVar[str] = "all weights are trained"
    preference: ClassVar[int] = 20
    trial_options: ClassVar[dict[str, Any] | None] = {}
    suits_small_models: ClassVar[bool] = True
    probe_steps: ClassVar[int] = 250
    learning_rate: ClassVar[float] = 1e-4
    learning_rate_width: ClassVar[int | None] = 768
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-6, 1e-3)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {"training.weight_decay": (0.0, 0.01, 0.1)}

    def least_updates(self, layer_parameters: int) -> int:
        """Return half as many updates for large layers, which have learnt the rows by heart long before (decision 34)."""
        return self.probe_steps // 2 if layer_parameters >= HALF_UPDATES_FROM else self.probe_steps

    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Make every parameter trainable."""
        base.network.requires_grad_(True)
        return base.as_prepared()
