"""What scores texts: a network with its tokenizer, or a baseline.

Shape suffixes: N texts, C outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from finewright.core.errors import ExitCode, UserError
from finewright.data.splits import Example
from finewright.tasks.base import Evaluation, Task

OnProgress = Callable[[int, int, float], None]
"""Called with the texts done, all texts, and the share of the work that is done."""


class ScoredPiece(NamedTuple):
    """Outputs of texts `start` and following, float32, shape (N, C). `num_cut`: of these texts, those longer than the limit."""

    start: int
    outputs: np.ndarray
    num_cut: int


@dataclass(frozen=True)
class EvaluatedExamples:
    """An evaluation of labelled examples. `rows`: those that were evaluated. `notes`: what the user should know of the others.

    `num_cut`: how many of their texts were cut.
    """

    evaluation: Evaluation
    rows: list[Example]
    notes: list[str] = field(default_factory=list)
    num_cut: int = 0


@dataclass(frozen=True, kw_only=True)
class TextPredictor(ABC):
    """A saved model of any kind.

    `task`: what it was trained for. `limit`: tokens of a text that are read, 0 for all. `keep_end`: longer texts lose their
    start.
    """

    task: Task
    limit: int = 0
    keep_end: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the outputs; empty if the task has none."""
        return self.task.labels

    @property
    @abstractmethod
    def device(self) -> str:
        """Where it computes."""

    @abstractmethod
    def score(self, texts: Sequence[Any]) -> np.ndarray:
        """Return the outputs for inputs of the task, such as texts, float32, shape (N, C)."""

    @abstractmethod
    def score_pieces(self, texts: Sequence[str], *, on_progress: OnProgress | None = None) -> Iterator[ScoredPiece]:
        """Yield the outputs for some texts at a time, in order. Raise `UserError` if an output is not finite."""

    @abstractmethod
    def evaluate(self, examples: Sequence[Example]) -> EvaluatedExamples:
        """Evaluate labelled examples, those that can be."""

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return label, its probability, and the probability of every label for each text, in order."""
        return self.predict_counted(texts)[0]

    def predict_counted(self, texts: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
        """Return (what `predict` returns, how many texts were cut)."""
        predictions: list[dict[str, Any]] = []
        num_cut = 0
        for piece in self.score_pieces(texts):
            some = texts[piece.start : piece.start + len(piece.outputs)]
            predictions += self.task.predictions(some, piece.outputs)
            num_cut += piece.num_cut
        return predictions, num_cut


def check_finite(outputs_NC: np.ndarray, texts: Sequence[str]) -> None:
    """Raise `UserError` that names the first text whose outputs, a row of `outputs_NC`, are not finite."""
    if not np.isfinite(outputs_NC).all():
        bad = texts[int(np.argwhere(~np.isfinite(outputs_NC))[0, 0])]
        what = f"the model's scores are not finite for {bad[:60]!r}"
        raise UserError(what, fix="the model is damaged", code=ExitCode.NON_FINITE)
