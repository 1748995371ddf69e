"""Regression on features of any kind: fitted and chosen by scikit-learn, then scored with NumPy alone.

Logistic regression where texts have labels, ridge regression where they have numbers.

Shape suffixes: N texts, C labels, K rows of coefficients (1 for two labels), F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright import tasks
from finewright.baselines import label_sets, number_regression
from finewright.baselines.saving import SavedBaseline
from finewright.core.errors import ExitCode, UserError
from finewright.tasks import logistic_regression
from finewright.tasks.logistic_regression import choose_best

if TYPE_CHECKING:
    from finewright.data.dataset import Dataset
    from finewright.data.splits import Example

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Values of scikit-learn's C (inverse regularisation) to choose from."""
ENOUGH_ROWS = 50
"""Validation rows by which C is chosen; below, by cross-validation too."""
_IMPOSSIBLE = -1e9
"""Log probability of a label that the training rows lack; its exponential is 0."""


def describe_reason(dataset: "Dataset") -> str:
    """Return which rows choose the features and C."""
    left_out, num_rows = "training rows that are left out in turn", len(dataset.validation)
    if dataset.row_kind == "number" or not num_rows:
        return f"the best on {left_out}"
    return f"the best on {num_rows:,} validation rows" + (f" and on {left_out}" if num_rows < ENOUGH_ROWS else "")


@dataclass(frozen=True)
class Candidate:
    """Features of one kind, a matrix for each split that has rows."""

    kind: str
    train: Any
    validation: Any


@dataclass(frozen=True)
class Regression:
    """The regression that was best on rows that were held out. `number`: of its candidate. `classifier`: scikit-learn's."""

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

    def settings(self) -> dict[str, Any]:
        """Return what is saved of it as JSON; `classes`: indices of the labels that the training rows have."""
        return {"C": self.C, "classes": tuple(int(index) for index in self.classifier.classes_)}

    def estimate(self, features: Any) -> np.ndarray:
        """Return the probability of every label by scikit-learn, shape (N, C); 0 for labels that the training rows lack."""
        return logistic_regression.predict(self.classifier, features, num_labels=self.num_labels)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what is saved of it: `coefficients`, shape (K, F), and `intercept`, shape (K,)."""
        coefficients, intercept = (np.ascontiguousarray(value) for value in (self.classifier.coef_, self.classifier.intercept_))
        return {"coefficients": coefficients, "intercept": intercept}


def fit_best(
    candidates: Sequence[Candidate], dataset: "Dataset", *, C: float | None = None
) -> Regression | label_sets.OneVsRestRegression | number_regression.NumberRegression:
    """Fit logistic regressions; keep the best features and C. `C`: this one alone. Of rows with several labels one for each.
    Rows with numbers get a ridge regression, whose penalty is 1 / C.

    `choose_best` says what is best by the validation rows; where these are few, by cross-validation on the training rows too.
    Raise `UserError` if the training rows have one label alone.
    """
    if dataset.row_kind == "number":
        return number_regression.fit_best(candidates, dataset, C=C)
    if dataset.has_label_sets:
        strengths = STRENGTHS if C is None else (C,)
        return label_sets.fit_best(candidates, dataset, strengths=strengths, enough_rows=ENOUGH_ROWS)
    train, validation = (label_indices(rows, dataset) for rows in (dataset.train, dataset.validation))
    if len(set(train.tolist())) < 2:
        what = f"every training row has the label {dataset.train[0].label!r}: there is nothing to distinguish"
        raise UserError(what, fix="add rows of other labels", code=ExitCode.BAD_DATA)
    num_labels, fitted, right, likelihoods = len(dataset.labels), [], [], []
    choices = [(number, strength) for number in range(len(candidates)) for strength in (STRENGTHS if C is None else (C,))]
    for number, strength in choices:
        features = candidates[number]
        classifier = logistic_regression.fit(features.train, train, strength=strength)
        found, targets = np.zeros((0, num_labels)), np.zeros(0, dtype=int)
        if len(validation):
            found, targets = logistic_regression.predict(classifier, features.validation, num_labels=num_labels), validation
        fitted.append((classifier, number, strength, _accuracy(found, targets)))
        if len(choices) > 1 and len(validation) < ENOUGH_ROWS:
            left_out = logistic_regression.cross_validate(features.train, train, strength=strength, num_labels=num_labels)
            found, targets = np.concatenate([found, left_out]), np.concatenate([targets, train])
        right.append(found.argmax(axis=1) == targets)
        likelihoods.append(logistic_regression.log_likelihoods(found, targets))
    classifier, number, strength, accuracy = fitted[choose_best(right, likelihoods) if len(choices) > 1 else 0]
    return Regression(classifier, number, candidates[number].kind, strength, accuracy, num_labels)


def _accuracy(probabilities: np.ndarray, targets: np.ndarray) -> float | None:
    return float((probabilities.argmax(axis=1) == targets).mean()) if len(targets) else None


def label_indices(rows: "Sequence[Example]", dataset: "Dataset") -> np.ndarray:
    """Return the index of each row's label, shape (N,)."""
    numbers = {label: index for index, label in enumerate(dataset.labels)}
    return np.array([numbers[row.label] for row in rows], dtype=int)


def make_scores(decisions_NK: np.ndarray, settings: SavedBaseline) -> np.ndarray:
    """Return what a task reads, float32, shape (N, C): log probabilities up to a constant, the log odds of every label, or
    numbers."""
    if settings.one_vs_rest or settings.has_numbers:
        return decisions_NK.astype(np.float32)
    return spread_scores(decisions_NK, settings.classes, num_labels=len(settings.labels))


def estimate(scores_NC: np.ndarray, settings: SavedBaseline) -> np.ndarray:
    """Return what scikit-learn's own estimate is compared with: the probabilities of labels, or numbers in standard deviations of
    the training numbers; float64, shape (N, C)."""
    if settings.std is not None:
        return scores_NC.astype(np.float64) / settings.std
    shares = tasks.get_task(settings.task).for_labels(settings.labels).label_probabilities(scores_NC)
    assert shares is not None, "a baseline that is no regression of numbers chooses between labels"
    return shares


def spread_scores(decisions_NK: np.ndarray, classes: Sequence[int], *, num_labels: int) -> np.ndarray:
    """Return log probabilities up to a constant, float32, shape (N, C), from the decisions of a regression, shape (N, K)."""
    if decisions_NK.shape[1] == 1:  # two classes: the decision is the logarithm of the ratio of their probabilities
        decisions_NK = np.concatenate([-decisions_NK / 2, decisions_NK / 2], axis=1)
    scores_NC = np.full((len(decisions_NK), num_labels), _IMPOSSIBLE, dtype=np.float32)
    scores_NC[:, list(classes)] = decisions_NK
    return scores_NC
