"""Measure the baselines for several labels per text, which train no weight of the model, on every size of the training set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from finewright import baselines, tasks
from finewright.baselines import majority
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.baselines.predictor import BaselinePredictor
from finewright.comparison.baseline_sizes import measure_sizes
from finewright.comparison.schema import BaselineFile
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.text_pairs import input_of
from finewright.models import hub
from finewright.runs.comparators import measure_majority
from finewright.tasks.evaluation import Evaluation

Measured = tuple[Evaluation, int, str]
"""Evaluation of the test rows, number of parameters, what was chosen."""


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Train on each of `datasets` and predict the labels of its test rows, see `measure_sizes`. Thresholds are fitted on its
    validation rows."""
    kind = tasks.get_task(settings.task)

    def fit(dataset: Dataset, encoder: FrozenEncoder | None) -> Measured:
        if name != majority.NAME:
            return _measure_regression(name, dataset, settings=settings, encoder=encoder)
        chosen = f"always {', '.join(majority.most_frequent_set(dataset)) or 'no label'}"
        return measure_majority(dataset, kind.for_dataset(dataset, config=settings)), 0, chosen

    def describe(fitted: Measured, dataset: Dataset) -> dict[str, Any]:
        evaluation, num_parameters, chosen = fitted
        lines = evaluation.prediction_lines(dataset.test)
        return {
            "predicted": [line["predicted"] for line in lines],
            "rows": list(range(len(lines))),
            "scores": kind.row_scores(lines),
            "parameters": num_parameters,
            "chosen": chosen,
            "metrics": evaluation.metrics(),
        }

    return measure_sizes(name, datasets, source=source, settings=settings, known=known, fit=fit, describe=describe)


def _measure_regression(name: str, dataset: Dataset, *, settings: RunConfig, encoder: FrozenEncoder | None) -> Measured:
    fitted = baselines.build_baseline(name, {}).fit(dataset, task=settings.task, encoder=encoder)
    task = BaselinePredictor.of(fitted.model).task
    validation, test = (
        _log_odds(fitted.estimate([input_of(row) for row in rows])) for rows in (dataset.validation, dataset.test)
    )
    if len(dataset.validation):
        task = task.fit_thresholds(validation, task.targets(dataset.validation))
    evaluation = task.start_evaluation(task.targets(dataset.test))
    evaluation.update(range(len(dataset.test)), test)
    return evaluation, fitted.model.num_parameters, fitted.chosen


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the scores that a task makes probabilities of."""
    clipped = probabilities.clip(1e-9, 1 - 1e-9)
    return np.log(clipped / (1 - clipped)).astype(np.float32)
