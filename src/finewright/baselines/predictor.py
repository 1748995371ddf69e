"""Predict the labels of texts with a saved baseline, as `inference.predictor` does with a network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finewright import baselines, tasks
from finewright.baselines.base import BaselineModel
from finewright.data.splits import Example
from finewright.data.text_pairs import TextInput
from finewright.inference.text_predictor import EvaluatedExamples, OnProgress, ScoredPiece, TextPredictor, check_finite


@dataclass(frozen=True)
class BaselinePredictor(TextPredictor):
    """A fitted or a saved baseline with its task."""

    model: BaselineModel

    @classmethod
    def of(cls, model: BaselineModel) -> "BaselinePredictor":
        """Return the predictor of a model."""
        return cls(model, task=tasks.get_task(model.task).for_labels(model.labels))

    @classmethod
    def load(cls, folder: Path) -> "BaselinePredictor":
        """Load the `model/` folder of a run."""
        return cls.of(baselines.load_model(folder))

    @property
    def device(self) -> str:
        """Baselines compute on the CPU."""
        return "cpu"

    def score(self, texts: Sequence[TextInput]) -> np.ndarray:
        """Return what the task makes predictions of, float32, shape (N, C)."""
        return self.model.score([self.model.read_input(one) for one in texts])

    def score_pieces(self, texts: Sequence[TextInput], *, on_progress: OnProgress | None = None) -> Iterator[ScoredPiece]:
        """Yield the scores for some texts at a time, in order. Raise `UserError` if a score is not finite."""
        for start in range(0, len(texts), self.model.texts_at_once):
            some = texts[start : start + self.model.texts_at_once]
            scores_NC = self.score(some)
            check_finite(scores_NC, some)
            if on_progress is not None:
                done = start + len(some)
                on_progress(done, len(texts), done / len(texts))
            yield ScoredPiece(start, scores_NC, 0)

    def evaluate(self, examples: Sequence[Example]) -> EvaluatedExamples:
        """Evaluate the baseline on labelled examples. No text is cut."""
        evaluation = self.task.start_evaluation(self.task.targets_of_texts(examples))
        for piece in self.score_pieces([self.model.read_input(one) for one in self.task.probes(examples)]):
            evaluation.update(range(piece.start, piece.start + len(piece.outputs)), piece.outputs)
        return EvaluatedExamples(evaluation, list(examples))
