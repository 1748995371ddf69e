"""The answer of the training row with the most similar prompt, without a language model."""

from collections.abc import Sequence
from typing import ClassVar

from finewright.baselines import similarity
from finewright.baselines.answering import AnswerBaseline, Generate
from finewright.data.conversations import Conversation


class NearestAnswer(AnswerBaseline):
    """Answers that training rows have, chosen by TF-IDF cosine of the prompts."""

    title: ClassVar[str] = "the answer to the most similar prompt"
    summary: ClassVar[str] = "the answer of the training row with the most similar words, no language model"

    def answer(self, train: Sequence[Conversation], rows: Sequence[Conversation], *, generate: Generate) -> list[str]:
        """Return the answer of the nearest training row for each row."""
        nearest = similarity.find_nearest(train, rows, number=1)
        return [train[int(place)].label for place in nearest[:, 0]]
