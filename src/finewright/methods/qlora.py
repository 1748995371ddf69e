"""Low-rank updates beside frozen weights that are stored in four bits."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from finewright.core.config import option
from finewright.core.errors import UserError
from finewright.methods.base import Method, freeze_all
from finewright.models.adapters.lora import LoraOptions

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel
    from finewright.models.quantization import FourBit


class QLoRA(Method, LoraOptions):
    """QLoRA (Dettmers et al. 2023, arXiv:2305.14314), through PEFT and bitsandbytes."""

    summary: ClassVar[str] = "low-rank updates beside frozen weights in four bits"
    saves: ClassVar[Literal["model", "adapter"]] = "adapter"
    mergeable: ClassVar[bool] = True
    needs: ClassVar[str] = "qlora"
    preference: ClassVar[int] = 15
    preference_reason: ClassVar[str] = "its frozen weights take a quarter of the memory of 16-bit ones, but steps are slower"
    learning_rate: ClassVar[float] = 1e-3
    learning_rate_width: ClassVar[int | None] = 768
    learning_rate_range: ClassVar[tuple[float, float]] = (1e-5, 1e-2)
    card_note: ClassVar[str] = (
        "The adapter was trained on the base in four bits (`quantization.json` says how) and gives exactly these scores only on "
        "that base. On the base in full precision, or merged into it, scores change; measure before you rely on them. "
        "`finewright export` merges it into the dequantized four-bit weights, which keeps the scores."
    )

    quant_type: Literal["nf4", "fp4"] = option("nf4", "data type of frozen weights")
    double_quant: bool = option(True, "store the scales of frozen weights in 8 bits")

    def quantization(self) -> "FourBit":
        """Every matrix of the layers in four bits."""
        from finewright.models.quantization import FourBit

        return FourBit(self.quant_type, self.double_quant)

    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Put PEFT's layers on the quantized target modules."""
        from finewright.models.adapters import lora

        if self.dora:
            what = "DoRA needs the norm of every frozen matrix at every step, and would dequantize it each time"
            raise UserError(what, where="method.dora", fix="leave it off, or use lora")
        freeze_all(base)
        return base.as_prepared(lora.wrap_lora(base, options=self, start="default"))

    def save(self, prepared_model: "PreparedModel", folder: Path) -> None:
        """Write a PEFT adapter folder, the config with the label names, and how the base was quantized."""
        from finewright.models.adapters import lora
        from finewright.models.quantization import write_quantization

        lora.save_adapter(prepared_model, folder, options=self)
        architecture = prepared_model.architecture
        skip = [*architecture.head, *([architecture.pooler] if architecture.pooler else [])]
        write_quantization(folder, self.quantization(), skip=skip, bfloat16=prepared_model.runtime.bfloat16)
