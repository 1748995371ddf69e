"""What a task measures: its metric, what its metrics are about, and how the outputs of two models differ."""

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """The metric that decides which evaluation is best; the loss, where lower is better, decides between equal values."""

    name: str
    higher_is_better: bool = True
    is_share: bool = False
    """Whether it lies between 0 and 1 and is shown in percent."""
    words: str = ""
    """What people call it; `name` when it is empty."""

    @property
    def title(self) -> str:
        """What it is called in tables and sentences."""
        return self.words or self.name

    def format(self, value: float) -> str:
        """Return a value as a user reads it."""
        return f"{value:.1%}" if self.is_share else f"{value:.4g}"


Measures = Literal["labels", "label-sets", "numbers", "tags", "values"]
"""What metrics are about: one label of a text, several of them, a number, tags of words; `values`: whatever has a name."""


class OutputDifference(NamedTuple):
    """How two models' outputs for the same texts differ.

    `largest`: difference of an output. `scale`: largest size of an output of the first model.
    `num_changed`: texts with another prediction; None where predictions are not choices.
    """

    largest: float
    scale: float
    num_changed: int | None = None
