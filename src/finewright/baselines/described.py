"""What every baseline says of itself."""

from typing import ClassVar

from finewright.core.config import Options
from finewright.data.conversation_shapes import RowKind


class DescribedBaseline(Options):
    """What trains no weight of a model. A subclass of one of its kinds is final and the only one of its file."""

    row_kind: ClassVar[RowKind]
    """The rows that it is for."""
    summary: ClassVar[str]
    """What it does, in one line."""
    title: ClassVar[str]
    """What it is, in a few words that follow "right answers of"."""
    reads_model: ClassVar[bool] = False
    """Whether it reads a pre-trained model: its hidden states, or its answers."""

    @classmethod
    def name(cls) -> str:
        """What a user reads and types."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")
