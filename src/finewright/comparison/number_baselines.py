"""Measure the baselines for numbers, which train no weight of the model, on every size of the training set.

Shape suffixes: N test rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from finewright.baselines.frozen_features import PAIR_STATES, STATES, FrozenEncoder
from finewright.baselines.saving import TOKEN_PATTERN
from finewright.comparison.baseline_sizes import measure_sizes
from finewright.comparison.schema import BaselineFile
from finewright.comparison.spec import MEAN
from finewright.core.config import RunConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import Dataset
from finewright.data.number_rows import value_of
from finewright.data.text_pairs import are_pairs, input_of
from finewright.models import hub
from finewright.tasks import ridge_regression
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
        targets = np.array([value_of(row) for row in dataset.train])
        if name == MEAN:
            return Fitted(np.full(len(dataset.test), targets.mean()), 1, f"always {show_number(float(targets.mean()))}")
        return _fit_words(dataset, targets) if encoder is None else _fit_features(dataset, targets, encoder)

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


def _fit_words(dataset: Dataset, targets: np.ndarray) -> Fitted:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer: Any = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN_PATTERN, dtype=np.float64)
    try:
        features = vectorizer.fit_transform([row.text for row in dataset.train])
    except ValueError as error:
        what = f"no words in the training texts: {error}"
        raise UserError(what, fix="this baseline needs letters or digits", code=ExitCode.BAD_DATA) from None
    found, alpha = ridge_regression.fit_best(features, targets)
    values = found.predict(vectorizer.transform([row.text for row in dataset.test]))
    return Fitted(np.ravel(values), features.shape[1] + 1, f"penalty {alpha:g}")


def _fit_features(dataset: Dataset, targets: np.ndarray, encoder: FrozenEncoder) -> Fitted:
    """Fit on each hidden state that a head may read, and keep the one with the smaller error on rows that were left out."""
    from sklearn.preprocessing import StandardScaler

    texts, tested = ([input_of(row) for row in rows] for rows in (dataset.train, dataset.test))
    tried = []
    for state in PAIR_STATES if are_pairs(texts) else STATES:
        scaler: Any = StandardScaler().fit(encoder.recall(state, texts))
        train, test = (scaler.transform(encoder.recall(state, some)).astype(np.float64) for some in (texts, tested))
        error, alpha = ridge_regression.measure_error(train, targets)
        values = ridge_regression.fit(train, targets, alpha=alpha).predict(test)
        chosen = f"{encoder.describe_state(state)}, penalty {alpha:g}"
        tried.append((error, Fitted(np.ravel(values), train.shape[1] + 1, chosen)))
    return min(tried, key=lambda one: one[0])[1]
