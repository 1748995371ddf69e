"""Linear discriminant analysis: a head for so many labels that a logistic regression would take longer than the training.

Shape suffixes: N texts, C labels, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from finewright.data.splits import split_into_folds
from finewright.tasks import calibration
from finewright.tasks.head_weights import HeadNotFitted, HeadWeights, check_every_label, check_finite, find_softness
from finewright.tasks.logistic_regression import NUM_FOLDS, standardise

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
"""Shares of the identity in the covariance of the features to choose from."""
MOST_HELD_OUT, MOST_SCORES, LEAST_HELD_OUT = 2000, 5_000_000, 200
"""Rows that are left out at most to choose by, and how many scores they may have: with thousands of labels these take the memory,
several times as float64. Fewer rows than the last of the three would not tell."""
_RIDGE = 1e-3


def fit_head(
    features_NF: np.ndarray, targets: Sequence[int], *, num_labels: int, weights: np.ndarray | None, has_bias: bool
) -> HeadWeights:
    """Fit a head by the mean features of each label and the covariance that all labels share; rows that are left out decide its
    shrinkage, and a temperature for the scores.

    It has a closed form: its time grows with rows times labels once, that of a regression once for each of hundreds of steps.
    Without a bias, the direction in which all features are nearest to 1 takes its place. `weights`: of the rows, shape (N,).
    Raise `HeadNotFitted` with the reason. `strength` of what is returned is 1 less the shrinkage.
    """
    targets_N = np.asarray(targets)
    check_finite(features_NF)
    check_every_label(targets_N, num_labels)
    if len(targets_N) == num_labels:
        raise HeadNotFitted("no label has more than one row")
    scaled_NF, mean_F, scale_F = standardise(features_NF, centred=has_bias)
    shrinkage, temperature, held_out = _choose_shrinkage(scaled_NF, targets_N, num_labels, weights=weights, has_bias=has_bias)
    spread = _Spread.measure(scaled_NF, targets_N, weights=weights)
    weight_CF, bias_C = _fit(scaled_NF, spread, num_labels, shrinkage=shrinkage, has_bias=has_bias)
    weight_CF, bias_C = weight_CF / temperature, bias_C / temperature
    rows = np.arange(len(targets_N))[
        :: -(-len(targets_N) // _most_held_out(num_labels))
    ]  # evenly: a file may be in order of its labels
    scores_NC, own = scaled_NF[rows] @ weight_CF.T + bias_C, None if weights is None else weights[rows]

    def measure_loss(factor: float) -> float:
        return float(np.average(-calibration.log_likelihoods(factor * scores_NC, targets_N[rows]), weights=own))

    loss = measure_loss(1.0)
    weight_CF = weight_CF / scale_F
    bias_C = bias_C - weight_CF @ mean_F if has_bias else bias_C
    if not (np.isfinite(weight_CF).all() and np.isfinite(bias_C).all() and loss <= np.log(num_labels)):
        raise HeadNotFitted(f"the discriminant analysis is no better than guessing: its loss is {loss:.3f}")
    bias = bias_C.astype(np.float32) if has_bias else None
    softness = find_softness(measure_loss, held_out_loss=held_out)
    return HeadWeights(weight_CF.astype(np.float32), bias, 1 - shrinkage, "a linear discriminant analysis", softness)


def count_passes(*, num_rows: int, num_features: int, num_labels: int) -> float:
    """Return the work of `fit_head`, about, as products of all features with the weights of all labels: of each shrinkage and of
    the last fit the covariance, the weights and the scores of the rows left out."""
    held_out = min(num_rows, _most_held_out(num_labels))
    return (len(SHRINKAGES) + 1) * (num_features / num_labels + (num_features + held_out) / num_rows)


def _most_held_out(num_labels: int) -> int:
    return min(MOST_HELD_OUT, max(LEAST_HELD_OUT, MOST_SCORES // num_labels))


@dataclass(frozen=True)
class _Spread:
    """What a discriminant analysis needs of its rows, whatever the shrinkage. `present`: labels that have rows, with their mean
    features and shares of the rows. `within_FF`: the covariance of features around the mean of their label."""

    present: np.ndarray
    means_CF: np.ndarray
    priors_C: np.ndarray
    within_FF: np.ndarray

    @classmethod
    def measure(cls, features_NF: np.ndarray, targets_N: np.ndarray, *, weights: np.ndarray | None) -> Self:
        """Read the rows once. `weights`: of the rows, shape (N,); they change how frequent a label counts as."""
        present, own_N, counts_C = np.unique(targets_N, return_inverse=True, return_counts=True)
        priors_C = counts_C / counts_C.sum()
        if weights is not None:
            priors_C = np.bincount(own_N, weights=weights) / weights.sum()
        means_CF = np.zeros((len(present), features_NF.shape[1]))
        np.add.at(means_CF, own_N, features_NF)
        means_CF /= counts_C[:, None]
        around_NF = features_NF - means_CF[own_N]
        within_FF = (around_NF * (priors_C / counts_C)[own_N, None]).T @ around_NF
        return cls(present, means_CF, priors_C, within_FF)

    def solve(self, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights and biases of the labels present, as scikit-learn's solver `lsqr` does, in seconds instead of
        minutes for 10,000 labels: it computes a covariance for each label and shrinkage."""
        size = len(self.within_FF)
        shrunk_FF = (1 - shrinkage) * self.within_FF + shrinkage * np.trace(self.within_FF) / size * np.eye(size)
        weight_CF = np.linalg.lstsq(shrunk_FF, self.means_CF.T, rcond=None)[0].T
        return weight_CF, np.log(self.priors_C) - (self.means_CF * weight_CF).sum(axis=1) / 2


def _fit(
    features_NF: np.ndarray, spread: _Spread, num_labels: int, *, shrinkage: float, has_bias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights, shape (C, F), and biases, shape (C,), of log probabilities up to a constant; biases of 0 without one.

    `features_NF`: that the spread was measured on. Labels without a row get a prior of 0 and are never predicted.
    """
    weight_CF, bias_C = np.zeros((num_labels, features_NF.shape[1])), np.full(num_labels, -np.inf)
    weight_CF[spread.present], bias_C[spread.present] = spread.solve(shrinkage)
    if has_bias:
        return weight_CF, bias_C
    gram_FF = features_NF.T @ features_NF
    ridge = _RIDGE * np.trace(gram_FF) / len(gram_FF)
    ones_F = np.linalg.solve(gram_FF + ridge * np.eye(len(gram_FF)), features_NF.sum(axis=0))  # features @ ones_F is about 1
    finite_C = np.where(np.isfinite(bias_C), bias_C, 0.0)
    return weight_CF + np.outer(finite_C - finite_C.mean(), ones_F), np.zeros(num_labels)


def _choose_shrinkage(
    features_NF: np.ndarray, targets_N: np.ndarray, num_labels: int, *, weights: np.ndarray | None, has_bias: bool
) -> tuple[float, float, float]:
    """Return the shrinkage with the highest likelihood of rows that are left out, the temperature of its scores, and their loss;
    the loss is 0 if no row can be left out."""
    left_out = split_into_folds(targets_N, NUM_FOLDS) == 0
    kept, judged = np.flatnonzero(~left_out), np.flatnonzero(left_out)
    judged = judged[np.isin(targets_N[judged], targets_N[kept])]  # the only row of its label says nothing
    judged = judged[:: -(-len(judged) // _most_held_out(num_labels)) or 1]
    if not len(judged) or len(kept) == len(np.unique(targets_N[kept])):  # no two rows of a label tell how they spread
        return SHRINKAGES[-1], 1.0, 0.0
    found = []
    spread = _Spread.measure(features_NF[kept], targets_N[kept], weights=None if weights is None else weights[kept])
    for shrinkage in SHRINKAGES:
        weight_CF, bias_C = _fit(features_NF[kept], spread, num_labels, shrinkage=shrinkage, has_bias=has_bias)
        scores = features_NF[judged] @ weight_CF.T + np.where(np.isfinite(bias_C), bias_C, -1e4)
        temperature = calibration.fit_temperature(scores, targets_N[judged])
        likelihoods_N = calibration.log_likelihoods(scores / temperature, targets_N[judged])
        weighted = float(np.average(likelihoods_N, weights=None if weights is None else weights[judged]))
        found.append((float(likelihoods_N.mean()), shrinkage, temperature, -weighted))
    return max(found)[1:]
