"""Low-rank updates beside frozen weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.core.config import option
from finewright.methods.base import Method, Span, freeze_all
from finewright.models.adapters.lora import InitialFactors, LoraOptions

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel


class LoRA(Method, LoraOptions):
    """LoRA (Hu et al. 2021, arXiv:2106.09685), through PEFT."""

    summary: ClassVar[str] = "low-rank updates beside frozen weights"
    saves: ClassVar[Literal["model", "adapter"]] = "adapter"
    mergeable: ClassVar[bool] = True
    trial_options: ClassVar[dict[str, Any] | None] = {}
    preference: ClassVar[int] = 10
    preference_reason: ClassVar[str] = "near full fine-tuning's quality with a small part of its memory and a small file"
    learning_rate: ClassVar[float] = 1e-3
    learning_rate_width: ClassVar[int | None] = 768
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-5, 1e-2)
    search: ClassVar[dict[str, Span | tuple[Any, ...]]] = {
        "method.rank": (4, 8, 16, 32),
        "method.alpha": (16.0, 32.0, 64.0),
        "method.dropout": (0.0, 0.05, 0.1),
    }

    init_weights: InitialFactors = option("default", "initial values of the update")

    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Put PEFT's layers on the target modules."""
        from finewright.models.adapters import lora

        freeze_all(base)
        trainable_module = lora.wrap_lora(base, options=self, start=self.init_weights)
        start = {}
        if self.init_weights in ("pissa", "olora"):  # these subtract the initial update from the frozen weights
            start = {name: tensor.clone() for name, tensor in lora.adapter_factors(trainable_module)}
        return base.as_prepared(trainable_module, start=start, exact_reload=not start)

    def save(self, prepared_model: "PreparedModel", folder: Path) -> None:
        """Write a PEFT adapter folder that any PEFT loads on the plain base, and the config with the label names."""
        from finewright.models.adapters import lora

        lora.save_adapter(prepared_model, folder, options=self)
