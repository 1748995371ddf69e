"""The head that a task wants on a network."""

from dataclasses import dataclass
from typing import Any, Literal

from finewright.core.config import WantedPooling

Reads = Literal["pooled", "every-token", "next-token"]
"""Which states a head reads: one of each text, every token's, or those before the tokens that a language model learns to say."""
LANGUAGE_MODEL = "AutoModelForCausalLM"
"""The transformers class of a network whose head is its own output layer over the vocabulary."""
TOKEN_CLASSIFICATION = "AutoModelForTokenClassification"
"""The transformers class of a network whose head scores every token."""


@dataclass(frozen=True)
class HeadSpec:
    """What loading, methods and forward passes must know of a task.

    `auto_model`: the transformers class whose head is trained. `peft_task_type`: PEFT's name for it.
    `labels`: names of the head's outputs; without names it has one output.
    `problem_type`: what the saved config says of the loss, None for nothing. `first_loss`: of a fresh head, in nats, if known.
    `pooling`: which state of a text it reads, as the option says; `pooling.choose_pooling` decides. `needs_bias`: whether it must
    add one, which the own heads of decoders do not.
    """

    auto_model: str
    peft_task_type: str
    reads: Reads = "pooled"
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    first_loss: float | None = None
    pooling: WantedPooling = "auto"
    needs_bias: bool = False

    @property
    def num_outputs(self) -> int:
        """Outputs of the head for one state."""
        return max(1, len(self.labels))

    def write_to(self, config: Any) -> None:
        """Set the outputs of a transformers config, so that the network gets this head; a language model has its own."""
        if self.auto_model == LANGUAGE_MODEL:
            return
        config.num_labels = self.num_outputs
        if self.labels:
            config.id2label = dict(enumerate(self.labels))
            config.label2id = {label: index for index, label in enumerate(self.labels)}
        config.problem_type = self.problem_type
