"""The model as it is, with training rows as examples in the prompt (Brown et al. 2020, arXiv:2005.14165).

The examples are those with the nearest prompts (Liu et al. 2021, arXiv:2101.06804).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from finewright.baselines import similarity
from finewright.baselines.answering import AnswerBaseline, Generate
from finewright.core.config import option
from finewright.data.conversations import Conversation, Message


class FewShot(AnswerBaseline):
    """Answers of the untrained model after a few training rows like the one that is asked."""

    title: ClassVar[str] = "the untrained model with examples"
    summary: ClassVar[str] = "the model as it is, with the 3 most similar training rows as examples in the prompt"
    reads_model: ClassVar[bool] = True

    examples: int = option(3, "training rows in the prompt, as many of them as fit", low=1, high=100)

    def answer(self, train: Sequence[Conversation], rows: Sequence[Conversation], *, generate: Generate) -> list[str]:
        """Return the model's answers; where not all examples fit, the least similar ones are left out first."""
        nearest = similarity.find_nearest(train, rows, number=self.examples)
        asked = []
        for row, places in zip(rows, nearest.tolist(), strict=True):
            examples = [train[place] for place in places]
            asked.append([with_examples(row, examples[:number]) for number in range(len(examples), -1, -1)])
        return generate(asked)


def with_examples(row: Conversation, examples: Sequence[Conversation]) -> Conversation:
    """Return the row with the examples as earlier turns, the nearest last. `examples`: the nearest first.

    The system prompt of the row stays the first message; those of the examples are left out.
    """
    system = [one for one in row.messages if one.role == "system"]
    turns = [message for one in reversed(examples) for message in _answered(one) if message.role != "system"]
    own = [one for one in row.messages if one.role != "system"]
    return replace(row, messages=(*system, *turns, *own))


def _answered(row: Conversation) -> Sequence[Message]:
    """Return the messages up to the last answer."""
    last = row.last_answer
    return row.messages if last is None else row.messages[: last + 1]
