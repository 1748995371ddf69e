"""Predict the labels of texts with a saved baseline, as `inference.predictor` does with a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finewright import baselines, tasks
from finewright.baselines.base import BaselineModel
from finewright.data.splits import Example
from finewright.inference.texts import check_finite
from finewright.tasks.base import Evaluation, Task


@dataclass(frozen=True)
class BaselinePredictor:
    """A fitted or a saved baseline with its task."""

    model: BaselineModel
    task: Task

    @classmethod
    def of(cls, model: BaselineModel) -> "BaselinePredictor":
        """Return the predictor of a model."""
        return cls(model, tasks.get_task(model.task).for_labels(model.labels))

    @classmethod
    def load(cls, folder: Path) -> "BaselinePredictor":
        """Load the `model/` folder of a run."""
        return cls.of(baselines.load_model(folder))

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the scores."""
        return self.model.labels

    @property
    def device(self) -> str:
        """Baselines compute on the CPU."""
        return "cpu"

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Return log probabilities up to a constant, float32, shape (N, C)."""
        return self.model.score(texts)

    def evaluate(self, examples: Sequence[Example]) -> Evaluation:
        """Evaluate the baseline on labelled examples."""
        evaluation = self.task.start_evaluation(self.task.targets(examples))
        evaluation.update(range(len(examples)), self.score([example.text for example in examples]))
        return evaluation

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return label, its probability, and the probability of every label for each text, in order."""
        if not texts:
            return []
        scores = self.score(texts)
        check_finite(scores, texts)
        return self.task.predictions(texts, scores)
