"""Logistic regressions for several labels per text: one for each label, the same features and the same C for all.

Shape suffixes: N texts, C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright.data.multi_label_rows import labels_of
from finewright.tasks import multi_label_metrics, one_vs_rest
from finewright.tasks.one_vs_rest import OneVsRest

if TYPE_CHECKING:
    from finewright.baselines.regression import Candidate
    from finewright.data.dataset import Dataset
    from finewright.data.splits import Example


@dataclass(frozen=True)
class OneVsRestRegression:
    """The regressions that were best on rows that were held out; the attributes are those of `regression.Regression`."""

    fitted: OneVsRest
    number: int
    kind: str
    C: float
    num_labels: int
    validation_accuracy: float | None = None

    @property
    def chosen(self) -> str:
        """What was chosen, in words."""
        return f"{self.kind + ', ' if self.kind else ''}C = {self.C:g}"

    def settings(self) -> dict[str, Any]:
        """Return what is saved of it as JSON: each label has a regression."""
        return {"C": self.C, "classes": tuple(range(self.num_labels)), "one_vs_rest": True}

    def estimate(self, features: Any) -> np.ndarray:
        """Return the probability of every label, shape (N, C)."""
        return multi_label_metrics.sigmoid(self.fitted.decide(features))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what is saved of it: `coefficients`, shape (C, F), and `intercept`, shape (C,)."""
        found = {"coefficients": self.fitted.coefficients, "intercept": self.fitted.intercept}
        return {name: np.ascontiguousarray(value) for name, value in found.items()}


def fit_best(
    candidates: "Sequence[Candidate]", dataset: "Dataset", *, strengths: Sequence[float], enough_rows: int
) -> OneVsRestRegression:
    """Fit regressions; keep the features and C with the highest likelihood of the validation rows, and of few of these of
    training rows that are left out in turn."""
    train, validation = (label_matrix(rows, dataset) for rows in (dataset.train, dataset.validation))
    best: OneVsRestRegression | None = None
    highest = -np.inf
    for number, features in enumerate(candidates):
        several = len(candidates) * len(strengths) > 1
        left_out = (
            one_vs_rest.cross_validate(features.train, train, strengths=strengths)
            if several and len(validation) < enough_rows
            else None
        )
        start = None
        for place, strength in enumerate(strengths):
            start = one_vs_rest.fit(features.train, train, strength=strength, start=start)
            found = one_vs_rest.log_likelihoods(start.decide(features.validation), validation) if len(validation) else np.zeros(0)
            if left_out is not None:
                found = np.concatenate([found, one_vs_rest.log_likelihoods(left_out[place], train)])
            value = float(found.mean()) if len(found) else 0.0
            if value > highest:
                highest, best = value, OneVsRestRegression(start, number, features.kind, strength, len(dataset.labels))
    assert best is not None, "there are candidates"
    return best


def label_matrix(rows: "Sequence[Example]", dataset: "Dataset") -> np.ndarray:
    """Return 1 for each label of each row, else 0, shape (N, C)."""
    numbers = {label: index for index, label in enumerate(dataset.labels)}
    found = np.zeros((len(rows), len(numbers)))
    for place, row in enumerate(rows):
        found[place, [numbers[label] for label in labels_of(row)]] = 1
    return found
