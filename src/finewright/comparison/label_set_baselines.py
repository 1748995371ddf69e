"""Measure the baselines for several labels per text, which train no weight of the model, on every size of the training set."""

import time
from collections.abc import Mapping

import numpy as np

from finewright import baselines, tasks
from finewright.baselines import majority
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.baselines.predictor import BaselinePredictor
from finewright.comparison.schema import BaselineFile, BaselineResult
from finewright.comparison.shared_encoder import load_encoder
from finewright.core.config import RunConfig
from finewright.data.dataset import Dataset
from finewright.data.text_pairs import input_of
from finewright.models import hub
from finewright.runs.comparators import measure_majority
from finewright.tasks.evaluation import Evaluation


def measure(
    name: str, datasets: Mapping[str, Dataset], *, source: hub.ModelSource, settings: RunConfig, known: dict[str, list[int]]
) -> BaselineFile:
    """Train on each of `datasets` and predict the labels of its test rows, with thresholds fitted on its validation rows.

    `known`: token ids by text.
    """
    began = time.monotonic()
    kind = tasks.get_task(settings.task)
    encoder = load_encoder(name, datasets, source=source, settings=settings, known=known)
    seconds_once = time.monotonic() - began
    found = {}
    for size, dataset in datasets.items():
        began = time.monotonic()
        task = kind.for_dataset(dataset, config=settings)
        if name == majority.NAME:
            evaluation, num_parameters = measure_majority(dataset, task), 0
            chosen = f"always {', '.join(majority.most_frequent_set(dataset)) or 'no label'}"
        else:
            evaluation, num_parameters, chosen = _measure_regression(name, dataset, settings=settings, encoder=encoder)
        lines = evaluation.prediction_lines(dataset.test)
        found[size] = BaselineResult.model_validate(
            {
                "predicted": [line["predicted"] for line in lines],
                "rows": list(range(len(lines))),
                "scores": kind.row_scores(lines),
                "train_seconds": time.monotonic() - began + seconds_once,
                "parameters": num_parameters,
                "chosen": chosen,
                "num_train": len(dataset.train),
                "metrics": evaluation.metrics(),
            }
        )
    return BaselineFile(sizes=found)


def _measure_regression(
    name: str, dataset: Dataset, *, settings: RunConfig, encoder: FrozenEncoder | None
) -> tuple[Evaluation, int, str]:
    """Return (evaluation of the test rows, number of parameters, what was chosen)."""
    fitted = baselines.build_baseline(name, {}).fit(dataset, task=settings.task, encoder=encoder)
    task = BaselinePredictor.of(fitted.model).task
    validation, test = (
        _log_odds(fitted.probabilities([input_of(row) for row in rows])) for rows in (dataset.validation, dataset.test)
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
