"""Linear discriminant analysis: a head for so many labels that a logistic regression would take longer than the training.

Shape suffixes: N texts, C labels, F features.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from finewright.data.splits import split_into_folds
from finewright.tasks import calibration
from finewright.tasks.head_weights import HeadNotFitted, HeadWeights, check_every_label, check_finite, find_softness
from finewright.tasks.logistic_regression import NUM_FOLDS, standardise

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
"""Shares of the identity in the covariance of the features to choose from."""
MOST_HELD_OUT = 2000
"""Rows that are left out at most to choose by: with thousands of labels their scores take the memory."""
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
    weight_CF, bias_C = _fit(scaled_NF, targets_N, num_labels, shrinkage=shrinkage, weights=weights, has_bias=has_bias)
    weight_CF, bias_C = weight_CF / temperature, bias_C / temperature
    rows = np.arange(len(targets_N))[:: -(-len(targets_N) // MOST_HELD_OUT)]  # evenly: a file may be in order of its labels
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


def _fit(
    features_NF: np.ndarray,
    targets_N: np.ndarray,
    num_labels: int,
    *,
    shrinkage: float,
    weights: np.ndarray | None,
    has_bias: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights, shape (C, F), and biases, shape (C,), of log probabilities up to a constant; biases of 0 without one.

    Labels without a row get a prior of 0 and are never predicted.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    counts_C = np.bincount(targets_N, weights=weights, minlength=num_labels)
    present = np.flatnonzero(counts_C)
    priors = counts_C[present] / counts_C.sum()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only one sample available")  # of some labels: the shrinkage covers them
        analysis: Any = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors).fit(features_NF, targets_N)
    weight_CF, bias_C = np.zeros((num_labels, features_NF.shape[1])), np.full(num_labels, -np.inf)
    if len(present) == 2:  # scikit-learn has one row: the logarithm of the ratio of both probabilities
        weight_CF[present], bias_C[present] = np.outer([-0.5, 0.5], analysis.coef_[0]), [-0.5, 0.5] * analysis.intercept_
    else:
        weight_CF[present], bias_C[present] = analysis.coef_, analysis.intercept_
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
    judged = judged[:: -(-len(judged) // MOST_HELD_OUT) or 1]
    if not len(judged) or len(kept) == len(np.unique(targets_N[kept])):  # no two rows of a label tell how they spread
        return SHRINKAGES[-1], 1.0, 0.0
    found = []
    own = None if weights is None else weights[kept]
    for shrinkage in SHRINKAGES:
        weight_CF, bias_C = _fit(
            features_NF[kept], targets_N[kept], num_labels, shrinkage=shrinkage, weights=own, has_bias=has_bias
        )
        scores = features_NF[judged] @ weight_CF.T + np.where(np.isfinite(bias_C), bias_C, -1e4)
        temperature = calibration.fit_temperature(scores, targets_N[judged])
        likelihoods_N = calibration.log_likelihoods(scores / temperature, targets_N[judged])
        weighted = float(np.average(likelihoods_N, weights=None if weights is None else weights[judged]))
        found.append((float(likelihoods_N.mean()), shrinkage, temperature, -weighted))
    return max(found)[1:]
