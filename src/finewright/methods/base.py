"""The interface of a fine-tuning method."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from finewright.core.config import Options

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel
    from finewright.models.quantization import FourBit


__all__ = ["Method", "Span", "freeze_all"]


class Span(NamedTuple):
    """A range to search; `log`: evenly in the logarithm. The values are integers if both ends are."""

    low: float
    high: float
    log: bool = False


class Method(Options):
    """A fine-tuning method: properties (class variables), options (fields), `prepare` and `save`.

    A subclass is final and the only one of its file, `methods/<name>.py`.
    """

    summary: ClassVar[str]
    """One line for `finewright methods`."""
    weights: ClassVar[Literal["pretrained", "random"]] = "pretrained"
    """Which weights training starts from."""
    saves: ClassVar[Literal["model", "adapter"]] = "model"
    """A whole Hugging Face folder, or a PEFT adapter folder that names its base."""
    mergeable: ClassVar[bool] = False
    """Whether the learnt update can be merged into the base's weights."""
    needs: ClassVar[str] = ""
    """The optional extra of the package that this method needs; empty if none."""
    objective: ClassVar[Literal["task", "pairs"]] = "task"
    """What training minimises; after one on pairs of texts the head is fitted to the frozen features."""
    standard_head_only: ClassVar[str] = ""
    """Why the method can be saved with the head of the architecture's own class alone; empty if with any head."""
    trial_options: ClassVar[dict[str, Any] | None] = None
    """Options with which `auto` tries the method on parts of small data; None: it is not tried."""
    suits_few_rows: ClassVar[bool] = False
    """Whether `auto` takes the method for few rows of a model that embeds texts, unless the frozen features do better."""
    suits_small_models: ClassVar[bool] = False
    """Whether `auto` prefers the method for a small model, unless another one suits few rows."""
    probe_steps: ClassVar[int] = 500
    """What `least_updates` returns, unless the method has a rule of its own."""
    preference: ClassVar[int] = 100
    """`auto` prefers the lowest."""
    preference_reason: ClassVar[str] = ""
    learning_rate: ClassVar[float]
    """Peak learning rate with AdamW; docs/explanation/learning-rates.md has the sources."""
    learning_rate_width: ClassVar[int | None] = None
    """Hidden size that `learning_rate` is for; it falls in proportion as the size grows. None: it is for every size."""
    learning_rate_range: ClassVar[tuple[float, float]]
    """A learning rate outside this range gives a warning."""
    search: ClassVar[dict[str, "Span | tuple[Any, ...]"]] = {}
    """Main options to search, by dotted name: a span or the values to choose from. The learning rate is always searched, around
    its default."""
    card_note: ClassVar[str] = ""
    """A warning for the model card."""

    @classmethod
    def name(cls) -> str:
        """What a user types: the name of the file."""
        return cls.__module__.rpartition(".")[2]

    def quantization(self) -> "FourBit | None":
        """How frozen matrices are quantized when the model is loaded; None: not at all."""
        return None

    def least_updates(self, layer_parameters: int) -> int:
        """Return the fewest updates by default where the head starts from the frozen features and the rows give few.

        `layer_parameters`: of the model without its embeddings.
        """
        return self.probe_steps

    @abstractmethod
    def prepare(self, base: "BaseNetwork") -> "PreparedModel":
        """Freeze, replace or add parameters of the network in place. The modules named in `base.new` must stay trainable."""

    def save(self, prepared_model: "PreparedModel", folder: Path) -> None:
        """Write the whole model as a Hugging Face folder; a method that saves an adapter writes a PEFT folder instead."""
        from finewright.models import sentence_folder

        sentence_folder.save_network(prepared_model.network, folder, architecture=prepared_model.architecture)


def freeze_all(base: "BaseNetwork") -> None:
    """Freeze every parameter but those of new modules, the head's."""
    base.network.requires_grad_(False)
    for name in base.new:
        base.network.get_submodule(name).requires_grad_(True)
