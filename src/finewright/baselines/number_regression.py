"""Ridge regression for numbers, on features of any kind: fitted and chosen by scikit-learn, then computed with NumPy alone.

Shape suffixes: N texts, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright.baselines.saving import NUMBERS_VERSION
from finewright.data.number_rows import value_of
from finewright.tasks import ridge_regression

if TYPE_CHECKING:
    from finewright.baselines.regression import Candidate
    from finewright.data.dataset import Dataset


@dataclass(frozen=True)
class NumberRegression:
    """The regression that was best on rows that were left out; the attributes are those of `regression.Regression`.

    `fitted`: scikit-learn's. `std`: standard deviation of the training numbers.
    """

    fitted: Any
    number: int
    kind: str
    alpha: float
    std: float
    validation_accuracy: float | None = None

    @property
    def C(self) -> float:
        """The inverse of the regularisation."""
        return 1 / self.alpha

    @property
    def chosen(self) -> str:
        """What was chosen, in words."""
        return f"{self.kind + ', ' if self.kind else ''}penalty {self.alpha:g}"

    def settings(self) -> dict[str, Any]:
        """Return what is saved of it as JSON."""
        return {"C": self.C, "std": self.std, "schema_version": NUMBERS_VERSION}

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what is saved of it: `coefficients`, shape (1, F), and `intercept`, shape (1,)."""
        coefficients = np.ascontiguousarray(self.fitted.coef_, dtype=np.float64).reshape(1, -1)
        return {"coefficients": coefficients, "intercept": np.array([self.fitted.intercept_], dtype=np.float64).reshape(1)}

    def estimate(self, features: Any) -> np.ndarray:
        """Return the numbers by scikit-learn, in standard deviations of the training numbers, shape (N, 1)."""
        return self.fitted.predict(features.astype(np.float64)).reshape(-1, 1) / self.std


def fit_best(candidates: "Sequence[Candidate]", dataset: "Dataset", *, C: float | None) -> NumberRegression:
    """Fit regressions; keep the features and the penalty with the smallest squared error on training rows that are left out.

    The validation rows choose nothing: their errors are what the intervals of predictions are made of.
    """
    targets = np.array([value_of(row) for row in dataset.train], dtype=np.float64)
    penalties = ridge_regression.STRENGTHS if C is None else (1 / C,)
    matrices = [candidate.train.astype(np.float64) for candidate in candidates]
    if len(candidates) * len(penalties) > 1:
        measured = [ridge_regression.measure_error(one, targets, strengths=penalties) for one in matrices]
    else:
        measured = [(0.0, penalties[0])]
    number = min(range(len(measured)), key=lambda place: measured[place][0])
    alpha = measured[number][1]
    fitted = ridge_regression.fit(matrices[number], targets, alpha=alpha)
    return NumberRegression(fitted, number, candidates[number].kind, alpha, float(targets.std()))
