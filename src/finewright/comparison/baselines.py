"""Measure the baselines, which train no weight of the model, on every size of the training set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from finewright import baselines, tasks
from finewright.baselines import majority, regression
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.comparison.baseline_sizes import measure_sizes
from finewright.comparison.schema import BaselineFile
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.text_pairs import input_of
from finewright.models import hub
from finewright.runs.split_metrics import ClassificationMetrics
from finewright.tasks import metrics


@dataclass(frozen=True)
class Measured:
    """`probabilities`: of every label for every test row, shape (rows, labels)."""

    probabilities: np.ndarray
    num_parameters: int
    chosen: str
    validation_accuracy: float | None


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Train on each of `datasets` and predict its test rows, see `measure_sizes`.

    Options are chosen on the validation rows, like the best step of a run; with few of them on the
    training rows too.
    """

    def fit(dataset: Dataset, encoder: FrozenEncoder | None) -> Measured:
        return _measure_majority(dataset) if name == majority.NAME else _measure(name, dataset, encoder=encoder)

    return measure_sizes(name, datasets, source=source, settings=settings, known=known, fit=fit, describe=_describe)


def _describe(fitted: Measured, dataset: Dataset) -> dict[str, Any]:
    """Return the labels and their probabilities, with the metrics."""
    targets = regression.label_indices(dataset.test, dataset)
    measured = metrics.classification_metrics(fitted.probabilities, targets, labels=dataset.labels)
    return {
        "predicted": [dataset.labels[pick] for pick in fitted.probabilities.argmax(axis=1)],
        "probability": fitted.probabilities.max(axis=1).tolist(),
        "trainable_parameters": fitted.num_parameters,
        "chosen": fitted.chosen,
        "validation_accuracy": fitted.validation_accuracy,
        "metrics": ClassificationMetrics.model_validate(measured),
    }


def _measure(name: str, dataset: Dataset, *, encoder: FrozenEncoder | None) -> Measured:
    fitted = baselines.build_baseline(name, {}).fit(dataset, task=tasks.DEFAULT, encoder=encoder)
    probabilities = fitted.estimate([input_of(row) for row in dataset.test])
    return Measured(probabilities, fitted.model.num_parameters, fitted.chosen, fitted.validation_accuracy)


def _measure_majority(dataset: Dataset) -> Measured:
    frequencies = majority.label_frequencies(dataset)
    chosen = dataset.labels[int(frequencies.argmax())]
    right = [row.label == chosen for row in dataset.validation]
    probabilities = np.tile(frequencies, (len(dataset.test), 1))
    return Measured(probabilities, 0, f"always {chosen}", float(np.mean(right)) if right else None)
