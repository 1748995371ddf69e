"""Ridge regression by scikit-learn: first weights for the head of a number, and the baselines of one.

Shape suffixes: N texts, F features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from finewright.data.splits import split_into_folds
from finewright.tasks.head_weights import HeadNotFitted, HeadWeights, check_finite
from finewright.tasks.logistic_regression import NUM_FOLDS, standardise

STRENGTHS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Penalties to choose from, scikit-learn's alpha."""
MOST_ROWS_TO_CHOOSE = 2000
"""Rows that the penalty is chosen on; the regression itself is fitted to all."""


def fit_best(features: Any, targets: np.ndarray, *, intercept: bool = True) -> tuple[Any, float]:
    """Return (scikit-learn's fitted ridge regression, its alpha): the penalty with the least squared error on rows that are left
    out. `features`: dense or sparse, shape (N, F); `targets`: shape (N,)."""
    best = measure_error(features, targets, intercept=intercept)[1]
    return fit(features, targets, alpha=best, intercept=intercept), best


def measure_error(
    features: Any, targets: np.ndarray, *, intercept: bool = True, strengths: Sequence[float] = STRENGTHS
) -> tuple[float, float]:
    """Return (mean squared error of rows that are left out, that of `strengths` which makes it smallest)."""
    if isinstance(features, np.ndarray):
        rows = choose_evenly(targets, MOST_ROWS_TO_CHOOSE)
        return _choose_by_leaving_one_out(features[rows], targets[rows], intercept=intercept, strengths=strengths)
    return _choose_by_folds(features, targets, intercept=intercept, strengths=strengths)


def choose_evenly(targets: np.ndarray, most: int) -> np.ndarray:
    """Return all rows, or `most` of them evenly over their targets in order; ascending, shape (rows,)."""
    if len(targets) <= most:
        return np.arange(len(targets))
    places = np.linspace(0, len(targets) - 1, most).round().astype(int)
    return np.sort(np.argsort(targets, kind="stable")[places])


def _choose_by_leaving_one_out(
    features: np.ndarray, targets: np.ndarray, *, intercept: bool, strengths: Sequence[float]
) -> tuple[float, float]:
    """Return the error and the best penalty for dense features: each row is left out, by one decomposition for all."""
    from sklearn.linear_model import RidgeCV

    found = RidgeCV(alphas=np.array(strengths), fit_intercept=intercept).fit(features, targets)
    return -float(found.best_score_), float(found.alpha_)


def _choose_by_folds(features: Any, targets: np.ndarray, *, intercept: bool, strengths: Sequence[float]) -> tuple[float, float]:
    """Return the error and the best penalty for sparse features: thirds of the rows are left out in turn."""
    folds = split_into_folds(targets, NUM_FOLDS)
    errors = []
    for alpha in strengths:
        error = 0.0
        for fold in range(NUM_FOLDS):
            kept, left_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            if len(kept) and len(left_out):
                found = fit(features[kept], targets[kept], alpha=alpha, intercept=intercept).predict(features[left_out])
                error += float(np.square(found - targets[left_out]).sum())
        errors.append(error / len(targets))
    best = int(np.argmin(errors))
    return errors[best], strengths[best]


def fit(features: Any, targets: np.ndarray, *, alpha: float, intercept: bool = True) -> Any:
    """Return scikit-learn's fitted ridge regression."""
    from sklearn.linear_model import Ridge

    solver = "auto" if isinstance(features, np.ndarray) else "sparse_cg"
    return Ridge(alpha=alpha, fit_intercept=intercept, solver=solver).fit(features, targets)


def fit_head(features_NF: np.ndarray, targets: Sequence[float], *, has_bias: bool) -> HeadWeights:
    """Fit a head with one output to the features of the training texts; rows that are left out decide the penalty.

    The regression sees features of standard deviation near 1, which the head's weights undo exactly. Without a bias features are
    not centred, as only a bias could undo that. `strength` of the result is 1 / alpha. Raise `HeadNotFitted` with the reason.
    """
    targets_N = np.asarray(targets, dtype=np.float64)
    check_finite(features_NF)
    if len(targets_N) < NUM_FOLDS or targets_N.std() == 0:
        raise HeadNotFitted("the training rows do not have different numbers")
    scaled_NF, mean_F, scale_F = standardise(features_NF, centred=has_bias, dtype=np.float64)
    constant_F, rest_N = np.zeros(scaled_NF.shape[1]), targets_N
    if not has_bias:  # a penalty then draws the weights towards those that give the mean, not towards 0
        constant = fit_best(scaled_NF, np.full(len(targets_N), targets_N.mean()), intercept=False)[0]
        constant_F, rest_N = np.ravel(constant.coef_), targets_N - constant.predict(scaled_NF)
    found, alpha = fit_best(scaled_NF, rest_N, intercept=has_bias)
    weight_F = (constant_F + np.ravel(found.coef_)) / scale_F
    bias = float(found.intercept_) - float(weight_F @ mean_F) if has_bias else 0.0
    if not (np.isfinite(weight_F).all() and np.isfinite(bias)):
        raise HeadNotFitted("the regression has weights that are not finite")
    return HeadWeights(
        weight_F[None].astype(np.float32), np.array([bias], dtype=np.float32) if has_bias else None, strength=1 / alpha
    )
