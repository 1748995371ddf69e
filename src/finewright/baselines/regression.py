"""Logistic regression on features of any kind: fitted and chosen by scikit-learn, then scored with NumPy alone.

Shape suffixes: N texts, C labels, K rows of coefficients (1 for two labels), F features.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright.core.errors import ExitCode, UserError

if TYPE_CHECKING:
    from finewright.data.dataset import Dataset
    from finewright.data.splits import Example

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of scikit-learn's C (inverse regularisation) to choose from."""
DEFAULT_STRENGTH = 1.0
"""Value of C without validation rows to choose by."""
_IMPOSSIBLE = -1e9
"""Log probability of a label that the training rows lack; its exponential is 0."""


@dataclass(frozen=True)
class Candidate:
    """Features of one kind, a matrix for each split that has rows."""

    kind: str
    train: Any
    validation: Any


@dataclass(frozen=True)
class Regression:
    """The regression that was best on the validation rows. `number`: of its candidate. `classifier`: scikit-learn's."""

    classifier: Any
    number: int
    kind: str
    C: float
    validation_accuracy: float | None
    num_labels: int

    @property
    def chosen(self) -> str:
        """What was chosen, in words."""
        return f"{self.kind + ', ' if self.kind else ''}C = {self.C:g}"

    @property
    def classes(self) -> tuple[int, ...]:
        """Indices of the labels that the training rows have."""
        return tuple(int(index) for index in self.classifier.classes_)

    def probabilities(self, features: Any) -> np.ndarray:
        """Return the probability of every label by scikit-learn, shape (N, C); 0 for labels that the training rows lack."""
        return _predict(self.classifier, features, num_labels=self.num_labels)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what is saved of it: `coefficients`, shape (K, F), and `intercept`, shape (K,)."""
        coefficients, intercept = (np.ascontiguousarray(value) for value in (self.classifier.coef_, self.classifier.intercept_))
        return {"coefficients": coefficients, "intercept": intercept}


def fit_best(candidates: Sequence[Candidate], dataset: "Dataset", *, C: float | None = None) -> Regression:
    """Fit logistic regressions; keep the features and the C that are best on the validation rows. `C`: this one alone.

    Without validation rows the first candidate is taken. Raise `UserError` if the training rows have one label alone.
    """
    train, validation = (label_indices(rows, dataset) for rows in (dataset.train, dataset.validation))
    if len(set(train.tolist())) < 2:
        what = f"every training row has the label {dataset.train[0].label!r}: there is nothing to distinguish"
        raise UserError(what, fix="add rows of other labels", code=ExitCode.BAD_DATA)
    num_labels, best, top = len(dataset.labels), None, (-1.0, 0.0)
    for number, features in enumerate(candidates if len(validation) else candidates[:1]):
        for strength in (C,) if C is not None else STRENGTHS if len(validation) else (DEFAULT_STRENGTH,):
            classifier, score = _regress(features.train, train, strength=strength), (0.0, 0.0)
            if len(validation):
                score = _score(_predict(classifier, features.validation, num_labels=num_labels), validation)
            if score > top:
                best, top = (classifier, number, features.kind, strength), score
    assert best is not None, "every accuracy is above -1"
    return Regression(*best, top[0] if len(validation) else None, num_labels)


def label_indices(rows: "Sequence[Example]", dataset: "Dataset") -> np.ndarray:
    """Return the index of each row's label, shape (N,)."""
    numbers = {label: index for index, label in enumerate(dataset.labels)}
    return np.array([numbers[row.label] for row in rows], dtype=int)


def spread_scores(decisions_NK: np.ndarray, classes: Sequence[int], *, num_labels: int) -> np.ndarray:
    """Return log probabilities up to a constant, float32, shape (N, C), from the decisions of a regression, shape (N, K)."""
    if decisions_NK.shape[1] == 1:  # two classes: the decision is the logarithm of the ratio of their probabilities
        decisions_NK = np.concatenate([-decisions_NK / 2, decisions_NK / 2], axis=1)
    scores_NC = np.full((len(decisions_NK), num_labels), _IMPOSSIBLE, dtype=np.float32)
    scores_NC[:, list(classes)] = decisions_NK
    return scores_NC


def _score(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return (accuracy, log likelihood). The second decides between equal accuracies."""
    likelihood = np.log(probabilities[np.arange(len(targets)), targets].clip(min=1e-12)).mean()
    return float((probabilities.argmax(axis=1) == targets).mean()), float(likelihood)


def _regress(features: Any, targets: np.ndarray, *, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    # L-BFGS adds up short vectors: threads of BLAS only wait for each other there (measured on two cores, 4,523 features:
    # 2.1 s with two threads beside other work, 0.09 s with one), and the last digits depend on their number
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with weak regularisation it may stop early; validation decides
        return LogisticRegression(C=strength, max_iter=500).fit(features, targets)


def _predict(classifier: Any, features: Any, *, num_labels: int) -> np.ndarray:
    probabilities = np.zeros((features.shape[0], num_labels))
    probabilities[:, classifier.classes_] = classifier.predict_proba(features)
    return probabilities
