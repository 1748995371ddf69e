"""One logistic regression for each label (one-vs-rest), all fitted at once: they share the features and the regularisation.

The loss is that of scikit-learn's `OneVsRestClassifier(LogisticRegression(C=C))`, and so is the result (tests compare them). One
product of matrices does the work of all labels, so that eight labels take about as long as one.

Shape suffixes: N texts, C labels, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from finewright.core.threads import running_single_threaded
from finewright.data.multi_label_splits import find_rarest_labels
from finewright.tasks.head_weights import HeadNotFitted, HeadWeights, check_finite, find_softness
from finewright.tasks.logistic_regression import NUM_FOLDS, choose_strength, standardise

MOST_ITERATIONS = 300
MOST_SEARCH_WORK = 50_000_000
"""Rows times features times labels up to which all rows decide the regularisation; of more, so many of them."""
_TOLERANCE, _SEARCH_TOLERANCE = 1e-4, 1e-3
"""Largest element of the gradient at the end, a share of that at the start; while the regularisation is searched for."""


@dataclass(frozen=True)
class OneVsRest:
    """`coefficients`: shape (C, F); `intercept`: shape (C,), zeros if none was fitted."""

    coefficients: np.ndarray
    intercept: np.ndarray
    strength: float

    def decide(self, features: Any) -> np.ndarray:
        """Return the logarithms of the odds, float64, shape (N, C)."""
        return np.asarray(features @ self.coefficients.T) + self.intercept


def fit(
    features: Any,
    targets_NC: np.ndarray,
    *,
    strength: float,
    weights_NC: np.ndarray | None = None,
    intercept: bool = True,
    start: OneVsRest | None = None,
    tolerance: float = _TOLERANCE,
) -> OneVsRest:
    """Fit all regressions. `strength`: scikit-learn's C. `features`: dense or sparse, shape (N, F). `start`: where to begin.
    `tolerance`: of the gradient at the end, as a share of that at the start.

    A label that all rows have, or none, has no coefficients: its intercept is the logarithm of its odds with half a row more on
    both sides.
    """
    from scipy.optimize import minimize

    features = features.astype(np.float64)
    targets_NC = np.asarray(targets_NC, dtype=np.float64)
    (num_rows, num_features), num_labels = features.shape, targets_NC.shape[1]
    count_C = targets_NC.sum(axis=0)
    varied_C = (count_C > 0) & (count_C < num_rows)
    coefficients, bias = np.zeros((num_labels, num_features)), np.zeros(num_labels)
    fixed = np.log((count_C[~varied_C] + 0.5) / (num_rows - count_C[~varied_C] + 0.5))
    bias[~varied_C] = fixed if intercept else 0.0
    own_NC, own_weights = targets_NC[:, varied_C], None if weights_NC is None else weights_NC[:, varied_C]
    num_own = own_NC.shape[1]
    if num_own:
        transposed = features.T.tocsr() if hasattr(features, "tocsr") else features.T

        def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weight_CF, bias_C = flat[: num_own * num_features].reshape(num_own, num_features), flat[num_own * num_features :]
            scores_NC = np.asarray(features @ weight_CF.T) + (bias_C if intercept else 0.0)
            losses_NC = np.logaddexp(0.0, scores_NC) - own_NC * scores_NC
            errors_NC = 1 / (1 + np.exp(-np.clip(scores_NC, -500, 500))) - own_NC
            if own_weights is not None:
                losses_NC, errors_NC = losses_NC * own_weights, errors_NC * own_weights
            gradient_CF = weight_CF + strength * np.asarray(transposed @ errors_NC).T
            bias_gradient = strength * errors_NC.sum(axis=0) if intercept else np.zeros(num_own)
            value = strength * losses_NC.sum() + 0.5 * np.square(weight_CF).sum()
            return float(value), np.concatenate([gradient_CF.ravel(), bias_gradient])

        first = np.zeros(num_own * (num_features + 1))
        if start is not None:
            first = np.concatenate([start.coefficients[varied_C].ravel(), start.intercept[varied_C]])
        with running_single_threaded():  # as in `logistic_regression.fit`: the last digits depend on the number of threads
            scale = float(np.abs(cost(np.zeros_like(first))[1]).max()) or 1.0
            options = {"maxiter": MOST_ITERATIONS, "gtol": tolerance * scale, "ftol": 1e-5 * tolerance}
            found = minimize(cost, first, jac=True, method="L-BFGS-B", options=options).x
        coefficients[varied_C] = found[: num_own * num_features].reshape(num_own, num_features)
        bias[varied_C] = found[num_own * num_features :] if intercept else 0.0
    return OneVsRest(coefficients, bias, strength)


def log_likelihoods(decisions_NC: np.ndarray, targets_NC: np.ndarray) -> np.ndarray:
    """Return the mean over labels of the logarithm of the probability of what each row has, shape (N,)."""
    decisions_NC = decisions_NC.astype(np.float64)
    return (targets_NC * decisions_NC - np.logaddexp(0.0, decisions_NC)).mean(axis=1)


def deal_into_folds(targets_NC: np.ndarray, num_folds: int = NUM_FOLDS) -> np.ndarray:
    """Return a fold for each row, shape (N,): rows with the same rarest label are dealt out one by one."""
    rarest_N = find_rarest_labels(targets_NC)
    folds = np.zeros(len(targets_NC), dtype=int)
    folds[np.argsort(rarest_N, kind="stable")] = np.arange(len(targets_NC)) % num_folds
    return folds


def cross_validate(features: Any, targets_NC: np.ndarray, *, strengths: Sequence[float], **how: Any) -> list[np.ndarray]:
    """Return for each strength the decisions about rows that were left out in turn, shape (N, C). `how`: of `fit`.

    With `weights_NC` in `how` each fit gets those of its rows.
    """
    folds, weights_NC = deal_into_folds(targets_NC), how.pop("weights_NC", None)
    found = [np.zeros(targets_NC.shape) for _ in strengths]
    for fold in range(NUM_FOLDS):
        out, start = folds == fold, None
        if not out.any() or out.all():
            continue
        own = None if weights_NC is None else weights_NC[~out]
        for place, strength in enumerate(strengths):
            start = fit(features[~out], targets_NC[~out], strength=strength, weights_NC=own, start=start, **how)
            found[place][out] = start.decide(features[out])
    return found


def fit_head(features_NF: np.ndarray, targets_NC: np.ndarray, *, weights_NC: np.ndarray | None, has_bias: bool) -> HeadWeights:
    """Fit a head to the features of the training texts; rows that are left out decide C, the same for all labels.

    Features are scaled, and C is chosen, as for one label per text (`logistic_regression.fit_head`). Raise `HeadNotFitted` with
    the reason.
    """
    check_finite(features_NF)
    if not targets_NC.any():
        raise HeadNotFitted("no training row has a label")
    scaled_NF, mean_F, scale_F = standardise(features_NF, centred=has_bias)
    strength, held_out = _choose_strength(scaled_NF, targets_NC, weights_NC=weights_NC, intercept=has_bias)
    fitted = fit(scaled_NF, targets_NC, strength=strength, weights_NC=weights_NC, intercept=has_bias)
    weight_CF = fitted.coefficients / scale_F
    bias_C = fitted.intercept - weight_CF @ mean_F if has_bias else None
    decisions_NC = fitted.decide(scaled_NF)

    def measure_loss(factor: float, weights_N: np.ndarray | None = None) -> float:
        return float(np.average(-log_likelihoods(factor * decisions_NC, targets_NC), weights=weights_N))

    loss = measure_loss(1.0)
    if not (np.isfinite(weight_CF).all() and (weights_NC is not None or loss <= np.log(2))):
        raise HeadNotFitted(f"the regression did not converge: its loss is {loss:.3f}")
    weights_N = None if weights_NC is None else weights_NC.mean(axis=1)
    softness = find_softness(partial(measure_loss, weights_N=weights_N), held_out_loss=held_out)
    bias = None if bias_C is None else bias_C.astype(np.float32)
    return HeadWeights(weight_CF.astype(np.float32), bias, strength, softness=softness)


def _choose_strength(
    features_NF: np.ndarray, targets_NC: np.ndarray, *, weights_NC: np.ndarray | None, intercept: bool
) -> tuple[float, float]:
    """Return the C for a head, see `choose_strength`; of many rows some decide."""
    most = max(50, MOST_SEARCH_WORK // max(1, features_NF.shape[1] * targets_NC.shape[1]))
    if len(features_NF) > most:
        chosen = np.linspace(0, len(features_NF) - 1, most).round().astype(int)
        features_NF, targets_NC = features_NF[chosen], targets_NC[chosen]
        weights_NC = None if weights_NC is None else weights_NC[chosen]
    how: dict[str, Any] = {"weights_NC": weights_NC, "intercept": intercept, "tolerance": _SEARCH_TOLERANCE}

    def measure(strength: float) -> np.ndarray:
        (decisions_NC,) = cross_validate(features_NF, targets_NC, strengths=(strength,), **how)
        return log_likelihoods(decisions_NC, targets_NC)

    return choose_strength(measure, weights_N=None if weights_NC is None else weights_NC.mean(axis=1))
