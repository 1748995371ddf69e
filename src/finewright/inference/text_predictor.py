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
from finewright.data.text_pairs import TextInput, joined_text
from finewright.tasks.base import Task
from finewright.tasks.evaluation import Evaluation

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
    def score_pieces(self, texts: Sequence[TextInput], *, on_progress: OnProgress | None = None) -> Iterator[ScoredPiece]:
        """Yield the outputs for some texts at a time, in order. Raise `UserError` if an output is not finite."""

    @abstractmethod
    def evaluate(self, examples: Sequence[Example]) -> EvaluatedExamples:
        """Evaluate labelled examples, those that can be."""

    def predict(self, texts: Sequence[TextInput]) -> list[dict[str, Any]]:
        """Return label, its probability, and the probability of every label for each text, in order."""
        return self.predict_counted(texts)[0]

    def predict_counted(self, texts: Sequence[TextInput]) -> tuple[list[dict[str, Any]], int]:
        """Return (what `predict` returns, how many texts were cut)."""
        predictions: list[dict[str, Any]] = []
        num_cut = 0
        for piece in self.score_pieces(texts):
            some = texts[piece.start : piece.start + len(piece.outputs)]
            found = self.task.predictions([joined_text(one) for one in some], piece.outputs)
            predictions += [_name_texts(line, one) for line, one in zip(found, some, strict=True)]
            num_cut += piece.num_cut
        return predictions, num_cut


def _name_texts(line: dict[str, Any], given: TextInput) -> dict[str, Any]:
    """Return a prediction with what it is about: of a pair the two texts, as pipelines of transformers name them."""
    return line if isinstance(given, str) else {**line, "text": given.first, "text_pair": given.second}


def check_finite(outputs_NC: np.ndarray, texts: Sequence[TextInput]) -> None:
    """Raise `UserError` that names the first text whose outputs, a row of `outputs_NC`, are not finite."""
    if not np.isfinite(outputs_NC).all():
        bad = joined_text(texts[int(np.argwhere(~np.isfinite(outputs_NC))[0, 0])])
        what = f"the model's scores are not finite for {bad[:60]!r}"
        raise UserError(what, fix="the model is damaged", code=ExitCode.NON_FINITE)
