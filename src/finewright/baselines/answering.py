"""The interface of a baseline for language models: it answers test prompts without training a weight."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from finewright.baselines.described import DescribedBaseline
from finewright.data.conversation_shapes import RowKind
from finewright.data.conversations import Conversation

Generate = Callable[[Sequence[Sequence[Conversation]]], list[str]]
"""Return the answer of the untrained model to each row: what it writes, or the most probable choice. A row is given as the
conversations that may ask for it, the preferred first: the first that the model has room for is asked."""


class AnswerBaseline(DescribedBaseline):
    """What answers the prompts of test rows from the training rows and the model as it is."""

    row_kind: ClassVar[RowKind] = "conversation"
    is_model_alone: ClassVar[bool] = False
    """Whether it is the model without anything added, so that the loss of the model is its own."""

    @abstractmethod
    def answer(self, train: Sequence[Conversation], rows: Sequence[Conversation], *, generate: Generate) -> list[str]:
        """Return an answer to each row.

        Parameters
        ----------
        train
            Training rows with an answer, one or more.
        rows
            Rows to answer; what they have as their own answer is not looked at.
        generate
            Asks the model.
        """
