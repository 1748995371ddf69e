"""What every way of fine-tuning says about itself, and the little it does."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from finewright.core.config import Options
from finewright.models.architectures.base import Architecture

if TYPE_CHECKING:
    from finewright.models.prepared import BaseModelRef, PreparedModel
    from finewright.models.quantization import FourBit


__all__ = ["Method", "Span", "freeze_all"]


class Span(NamedTuple):
    """Where a search may look for a number; `log`: evenly in its logarithm. Whole numbers if both ends are."""

    low: float
    high: float
    log: bool = False


class Method(Options):
    """A way of fine-tuning: its facts (class variables), its knobs (fields), `prepare` and `save`.

    Subclasses are final and live in `methods/<name>.py` under the class name `Method`.
    """

    summary: ClassVar[str]
    """One line for `finewright methods`."""
    weights: ClassVar[Literal["pretrained", "random"]] = "pretrained"
    """What the run starts from."""
    saves: ClassVar[Literal["model", "adapter"]] = "model"
    """A whole Hugging Face folder, or a PEFT adapter folder that names its base."""
    mergeable: ClassVar[bool] = False
    """Whether what was learnt can be added into the base's weights."""
    needs: ClassVar[str] = ""
    """The extra that brings what the plain installation lacks, empty when nothing is lacking."""
    preference: ClassVar[int] = 100
    """The lowest is what `auto` takes."""
    preference_reason: ClassVar[str] = ""
    learning_rate: ClassVar[float]
    """Peak learning rate with AdamW; docs/learning_rates.md has the sources."""
    learning_rate_width: ClassVar[int | None] = None
    """Width of the networks that `lr` is for: the wider, the lower, in proportion. None: `lr` is for every width."""
    learning_rate_range: ClassVar[tuple[float, float]]
    """Outside it the user is warned."""
    search: ClassVar[dict[str, "Span | tuple[Any, ...]"]] = {}
    """Main knobs by dotted name with where to look: a span, or the values to choose from; besides the learning rate, which
    every way has, around its default."""
    card_note: ClassVar[str] = ""
    """A warning for the model card."""

    @classmethod
    def name(cls) -> str:
        """What a user types: the name of the file."""
        return cls.__module__.rpartition(".")[2]

    def quantization(self) -> "FourBit | None":
        """How the frozen matrices are packed when the model is loaded; None: not at all."""
        return None

    @abstractmethod
    def prepare(
        self, network: Any, *, architecture: Architecture, head: tuple[str, ...], origin: "BaseModelRef"
    ) -> "PreparedModel":
        """Freeze, replace or add parameters in place; the modules named in `head` stay trainable in every way."""

    @abstractmethod
    def save(self, prepared_model: "PreparedModel", folder: Path) -> None:
        """Write the result in the ecosystem's own format."""


def freeze_all(network: Any, *, head: tuple[str, ...]) -> None:
    """Freeze every parameter but the head's."""
    network.requires_grad_(False)
    for name in head:
        network.get_submodule(name).requires_grad_(True)
