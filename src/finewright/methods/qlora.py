"""Low-rank updates beside frozen weights that are kept in four bits."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from finewright.anatomy import Anatomy
from finewright.errors import UserError
from finewright.lowrank import LowRankKnobs
from finewright.methods.base import AbstractMethod, freeze_all, knob

if TYPE_CHECKING:
    from finewright.quantization import FourBit
    from finewright.tuned import Origin, Tuned


class Method(AbstractMethod, LowRankKnobs):
    """QLoRA (Dettmers et al. 2023, arXiv:2305.14314), through PEFT and bitsandbytes."""

    summary: ClassVar[str] = "low-rank updates beside frozen weights in four bits"
    python_name: ClassVar[str] = "QLoRA"
    saves: ClassVar[Literal["model", "adapter"]] = "adapter"
    mergeable: ClassVar[bool] = True
    needs: ClassVar[str] = "qlora"
    preference: ClassVar[int] = 15
    preference_reason: ClassVar[str] = "its frozen weights take a quarter of the room of 16-bit ones, for slower steps"
    lr: ClassVar[float] = 1e-3
    lr_width: ClassVar[int | None] = 768
    lr_range: ClassVar[tuple[float, float]] = (1e-5, 1e-2)
    card_note: ClassVar[str] = (
        "The adapter was trained on the base in four bits (`quantization.json` says how) and scores exactly so on that base "
        "only. On the base in full precision, or merged into it, scores move; measure before you rely on them. `finewright "
        "export` merges it into the four-bit weights written out in full, where they stay."
    )

    quant_type: Literal["nf4", "fp4"] = knob("nf4", "the 16 values of a frozen weight")
    double_quant: bool = knob(True, "keep the scales of the frozen weights in 8 bits too")

    def quantization(self) -> "FourBit":
        """Every matrix of the blocks in four bits."""
        from finewright.quantization import FourBit

        return FourBit(self.quant_type, self.double_quant)

    def prepare(self, network: Any, *, anatomy: Anatomy, head: tuple[str, ...], origin: "Origin") -> "Tuned":
        """PEFT's layers on the packed targets."""
        from finewright import lowrank
        from finewright.tuned import Tuned

        if self.dora:
            what = "DoRA needs the norm of every frozen matrix at every step, and would unpack it from four bits each time"
            raise UserError(what, where="method.dora", fix="leave it off, or take lora with it")
        freeze_all(network, head=head)
        base = (origin.name, origin.revision)
        owner = lowrank.wrap(network, knobs=self, anatomy=anatomy, head=head, base=base, start="default")
        return Tuned(network=network, owner=owner, anatomy=anatomy)

    def save(self, tuned: "Tuned", folder: Path) -> None:
        """A PEFT adapter folder, the config with the label names, and how the base was packed."""
        from finewright import lowrank, quantization

        lowrank.save(tuned.owner, folder, knobs=self, start={})
        anatomy = tuned.anatomy
        skip = [*anatomy.head, *([anatomy.pooler] if anatomy.pooler else [])]
        quantization.write(folder, self.quantization(), skip=skip, bfloat16=tuned.bfloat16)
