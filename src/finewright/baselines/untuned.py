"""The model as it is, without any training."""

from collections.abc import Sequence
from typing import ClassVar

from finewright.baselines.answering import AnswerBaseline, Generate
from finewright.data.conversations import Conversation


class Untuned(AnswerBaseline):
    """Answers of the model before any training, asked as in training."""

    title: ClassVar[str] = "the untrained model"
    summary: ClassVar[str] = "the model as it is, without training"
    reads_model: ClassVar[bool] = True
    is_model_alone: ClassVar[bool] = True

    def answer(self, train: Sequence[Conversation], rows: Sequence[Conversation], *, generate: Generate) -> list[str]:
        """Return the model's answers."""
        return generate([[row] for row in rows])
