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

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Values of scikit-learn's C (inverse regularisation) to choose from."""
ENOUGH_ROWS, NUM_FOLDS = 50, 3
"""Validation rows by which C is chosen; below, by cross-validation too: parts of the training rows that are left out in turn."""
_LEAST_PROBABILITY = 1e-12
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
    """Fit logistic regressions; keep the best features and C. `C`: this one alone.

    `choose_best` says what is best by the validation rows; where these are few, by cross-validation on the training rows too.
    Raise `UserError` if the training rows have one label alone.
    """
    train, validation = (label_indices(rows, dataset) for rows in (dataset.train, dataset.validation))
    if len(set(train.tolist())) < 2:
        what = f"every training row has the label {dataset.train[0].label!r}: there is nothing to distinguish"
        raise UserError(what, fix="add rows of other labels", code=ExitCode.BAD_DATA)
    num_labels, fitted, right, likelihoods = len(dataset.labels), [], [], []
    choices = [(number, strength) for number in range(len(candidates)) for strength in (STRENGTHS if C is None else (C,))]
    for number, strength in choices:
        features = candidates[number]
        classifier = _regress(features.train, train, strength=strength)
        found, targets = np.zeros((0, num_labels)), np.zeros(0, dtype=int)
        if len(validation):
            found, targets = _predict(classifier, features.validation, num_labels=num_labels), validation
        fitted.append((classifier, number, strength, _accuracy(found, targets)))
        if len(choices) > 1 and len(validation) < ENOUGH_ROWS:
            left_out = _cross_validate(features.train, train, strength=strength, num_labels=num_labels)
            found, targets = np.concatenate([found, left_out]), np.concatenate([targets, train])
        right.append(found.argmax(axis=1) == targets)
        likelihoods.append(np.log(found[np.arange(len(targets)), targets].clip(min=_LEAST_PROBABILITY)))
    classifier, number, strength, accuracy = fitted[choose_best(right, likelihoods) if len(choices) > 1 else 0]
    return Regression(classifier, number, candidates[number].kind, strength, accuracy, num_labels)


def _accuracy(probabilities: np.ndarray, targets: np.ndarray) -> float | None:
    return float((probabilities.argmax(axis=1) == targets).mean()) if len(targets) else None


def choose_best(right: Sequence[np.ndarray], likelihoods: Sequence[np.ndarray]) -> int:
    """Return the candidate with the highest likelihood among those whose accuracy is hardly below the highest.

    Of those that have hardly less than this likelihood, the most accurate one is taken. In accuracy, hardly means one row, or two
    standard errors of the difference; in likelihood, one standard error.

    `right` and `likelihoods`: for each candidate, whether each row was right and the log likelihood of its label, shape (N,).
    """
    num_right = [int(found.sum()) for found in right]
    top = right[num_right.index(max(num_right))]
    able = []
    for number, found in enumerate(right):
        num_lost, num_won = int((top & ~found).sum()), int((found & ~top).sum())
        if num_lost - num_won <= max(1.0, 2 * (num_lost + num_won) ** 0.5):
            able.append(number)
    best = max(able, key=lambda number: float(likelihoods[number].mean()))
    differences = [likelihoods[best] - likelihoods[number] for number in able]
    close = [number for number, one in zip(able, differences, strict=True) if one.mean() <= one.std() / len(one) ** 0.5]
    return max(close, key=lambda number: (num_right[number], float(likelihoods[number].mean())))


def _cross_validate(features: Any, targets: np.ndarray, *, strength: float, num_labels: int) -> np.ndarray:
    """Return the probabilities of rows that were left out in turn, shape (N, C); 0 where the other rows have one label alone."""
    folds = _split_into_folds(targets)
    found = np.zeros((len(targets), num_labels))
    for fold in range(NUM_FOLDS):
        left_out = folds == fold
        if left_out.any() and len(set(targets[~left_out].tolist())) > 1:
            classifier = _regress(features[~left_out], targets[~left_out], strength=strength)
            found[left_out] = _predict(classifier, features[left_out], num_labels=num_labels)
    return found


def _split_into_folds(targets: np.ndarray) -> np.ndarray:
    """Return a fold for each row, shape (N,): the rows of a label are dealt out one by one."""
    folds = np.zeros(len(targets), dtype=int)
    folds[np.argsort(targets, kind="stable")] = np.arange(len(targets)) % NUM_FOLDS
    return folds


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
