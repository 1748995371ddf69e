"""What the tasks of language models have in common."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from finewright.core.config import DataConfig
from finewright.data import chat_encoding, chat_templates
from finewright.models.head_spec import LANGUAGE_MODEL, Reads
from finewright.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class LanguageModelTask(Task):
    """A task whose models continue texts. `data`: how rows become tokens."""

    auto_model: ClassVar[str] = LANGUAGE_MODEL
    peft_task_type: ClassVar[str] = "CAUSAL_LM"
    reads: ClassVar[Reads] = "next-token"
    pipeline_tag: ClassVar[str | None] = "text-generation"
    default_max_length: ClassVar[int] = 1024
    start: ClassVar[str] = "the untrained model"
    generates: ClassVar[bool] = True
    evaluates_start: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    data: DataConfig = field(default_factory=DataConfig)

    @classmethod
    def for_saved_model(cls, config: "PretrainedConfig") -> Self:
        """Build the task for a saved model, whose tokenizer brings the chat template."""
        return cls()

    @classmethod
    def assumed(cls, *, num_labels: int) -> Self:
        """Build a task for a plan without data."""
        return cls()

    def data_options(self) -> dict[str, Any]:
        """Return the options by which rows become tokens."""
        return self.data.model_dump(mode="json")

    def with_data_options(self, options: DataConfig) -> Self:
        """Return the task that reads rows by these options."""
        return replace(self, data=options)

    def complete_model(self, network: Any, tokenizer: Any) -> None:
        """Give the tokenizer its chat template, and the generation config every token that ends an answer."""
        chat_templates.choose_template(tokenizer, self.data.chat_template)
        ends = chat_encoding.end_of_turn_ids(tokenizer)
        settings = getattr(network, "generation_config", None)
        if ends and settings is not None:
            settings._from_model_config = False  # it says more than the config, and must be kept
            settings.eos_token_id = ends[0] if len(ends) == 1 else ends
            settings.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]

    @property
    def expected_first_loss(self) -> float | None:
        """Unknown: it depends on the model and the texts."""
        return None
