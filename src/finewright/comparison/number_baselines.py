"""Measure the baselines for numbers, which train no weight of the model, on every size of the training set.

Shape suffixes: N test rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from finewright import baselines
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.comparison.baseline_sizes import measure_sizes
from finewright.comparison.schema import BaselineFile
from finewright.comparison.spec import MEAN
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.number_rows import value_of
from finewright.data.text_pairs import input_of
from finewright.models import hub
from finewright.tasks.regression import Regression, show_number


@dataclass(frozen=True)
class Fitted:
    """`values_N`: predicted for the test rows. `chosen`: what was chosen, in words."""

    values_N: np.ndarray
    num_parameters: int
    chosen: str


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Fit on each of `datasets` and predict its test rows, see `measure_sizes`. Penalties are chosen by cross-validation on the
    training rows."""

    def fit(dataset: Dataset, encoder: FrozenEncoder | None) -> Fitted:
        if name == MEAN:
            targets = np.array([value_of(row) for row in dataset.train])
            return Fitted(np.full(len(dataset.test), targets.mean()), 1, f"always {show_number(float(targets.mean()))}")
        return _fit(name, dataset, settings=settings, encoder=encoder)

    describe = partial(_describe, settings=settings)
    return measure_sizes(name, datasets, source=source, settings=settings, known=known, fit=fit, describe=describe)


def _describe(fitted: Fitted, dataset: Dataset, *, settings: RunConfig) -> dict[str, Any]:
    """Return the numbers as a run has them in its predictions, with their scores and metrics."""
    task = Regression.for_dataset(dataset, config=settings).move_scale_into_head(None)
    evaluation = task.start_evaluation(task.targets(dataset.test))
    evaluation.update(range(len(dataset.test)), fitted.values_N[:, None])
    scores = Regression.row_scores(evaluation.prediction_lines(dataset.test))
    rows = [row for row, score in enumerate(scores) if score is not None]
    return {
        "predicted": [show_number(float(fitted.values_N[row])) for row in rows],
        "rows": rows,
        "scores": [scores[row] for row in rows],
        "trainable_parameters": fitted.num_parameters,
        "chosen": fitted.chosen,
        "metrics": evaluation.metrics(),
    }


def _fit(name: str, dataset: Dataset, *, settings: RunConfig, encoder: FrozenEncoder | None) -> Fitted:
    fitted = baselines.build_baseline(name, {}).fit(dataset, task=settings.task, encoder=encoder)
    values_N1 = fitted.model.score([input_of(row) for row in dataset.test])
    return Fitted(values_N1[:, 0].astype(np.float64), fitted.model.num_parameters, fitted.chosen)
