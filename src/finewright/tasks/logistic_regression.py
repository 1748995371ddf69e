"""Logistic regression by scikit-learn: fitting, cross-validation, the choice between several, and a head made of one.

Shape suffixes: N texts, C labels, K rows of coefficients (1 for two labels), F features.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from finewright.core.threads import running_single_threaded
from finewright.data.splits import split_into_folds
from finewright.tasks import calibration
from finewright.tasks.head_weights import HeadNotFitted, HeadWeights, check_every_label, check_finite, find_softness

NUM_FOLDS = 3
"""Parts of the training rows that are left out in turn."""
PROBE_STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Values of C to choose from for a head, on features of standard deviation 1."""
PATIENCE = 2
"""So many weaker regularisations in a row that lower the likelihood of rows that were left out end the search."""
LEAST_SCALE = 0.001
"""A feature is divided by at least this share of its root mean square: a spread below it is mostly rounding."""
DEAD_SHARE = 0.01
"""A feature is divided by at least this share of the median."""
_LEAST_PROBABILITY = 1e-12


def fit(features: Any, targets: np.ndarray, *, strength: float, weights: np.ndarray | None = None, intercept: bool = True) -> Any:
    """Return scikit-learn's fitted classifier. `strength`: its C. `weights`: of the rows, shape (N,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # L-BFGS adds up short vectors: threads of BLAS only wait for each other there (measured on two cores, 4,523 features:
    # 2.1 s with two threads beside other work, 0.09 s with one), and the last digits depend on their number
    with running_single_threaded(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")  # checked with the data
        warnings.simplefilter("ignore", ConvergenceWarning)  # with weak regularisation it may stop early; held-out rows decide
        return LogisticRegression(C=strength, max_iter=500, fit_intercept=intercept).fit(features, targets, sample_weight=weights)


def predict(classifier: Any, features: Any, *, num_labels: int) -> np.ndarray:
    """Return the probability of every label, shape (N, C); 0 for labels that were not fitted."""
    probabilities = np.zeros((features.shape[0], num_labels))
    probabilities[:, classifier.classes_] = classifier.predict_proba(features)
    return probabilities


def cross_validate(
    features: Any,
    targets: np.ndarray,
    *,
    strength: float,
    num_labels: int,
    weights: np.ndarray | None = None,
    intercept: bool = True,
    num_folds: int = NUM_FOLDS,
) -> np.ndarray:
    """Return the probabilities of rows that were left out in turn, shape (N, C); 0 where the other rows have one label alone."""
    folds = split_into_folds(targets, num_folds)
    found = np.zeros((len(targets), num_labels))
    for fold in range(num_folds):
        left_out = folds == fold
        if left_out.any() and len(set(targets[~left_out].tolist())) > 1:
            own = None if weights is None else weights[~left_out]
            classifier = fit(features[~left_out], targets[~left_out], strength=strength, weights=own, intercept=intercept)
            found[left_out] = predict(classifier, features[left_out], num_labels=num_labels)
    return found


def log_likelihoods(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the logarithm of the probability of each row's label, shape (N,)."""
    return np.log(probabilities[np.arange(len(targets)), targets].clip(min=_LEAST_PROBABILITY))


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


def fit_head(
    features_NF: np.ndarray, targets: Sequence[int], *, num_labels: int, weights: np.ndarray | None, has_bias: bool
) -> HeadWeights:
    """Fit a head to the features of the training texts; rows that are left out decide C.

    The regression sees features of standard deviation near 1, which the head's weights undo exactly. Without a bias features are
    not centred, as only a bias could undo that. `weights`: of the rows, shape (N,). Raise `HeadNotFitted` with the reason.
    """
    targets_N = np.asarray(targets)
    check_finite(features_NF)
    check_every_label(targets_N, num_labels)
    scaled_NF, mean_F, scale_F = standardise(features_NF, centred=has_bias)
    how: dict[str, Any] = {"weights": weights, "intercept": has_bias}
    strength, held_out = _choose_strength(scaled_NF, targets_N, num_labels=num_labels, **how)
    classifier = fit(scaled_NF, targets_N, strength=strength, **how)
    weight_KF = classifier.coef_.astype(np.float64) / scale_F
    bias_K = np.zeros(len(weight_KF)) + (classifier.intercept_ - weight_KF @ mean_F if has_bias else 0.0)
    if num_labels == 2:  # one row: the logarithm of the ratio of both probabilities
        weight_KF, bias_K = np.concatenate([-weight_KF, weight_KF]) / 2, np.concatenate([-bias_K, bias_K]) / 2
    scores_NC = features_NF @ weight_KF.T + bias_K

    def measure_loss(factor: float) -> float:
        return float(np.average(-calibration.log_likelihoods(factor * scores_NC, targets_N), weights=weights))

    loss = measure_loss(1.0)
    if not (np.isfinite(weight_KF).all() and np.isfinite(bias_K).all() and loss <= np.log(num_labels)):
        raise HeadNotFitted(f"the regression did not converge: its loss is {loss:.3f}")
    softness = find_softness(measure_loss, held_out_loss=held_out)
    bias = bias_K.astype(np.float32) if has_bias else None
    return HeadWeights(weight_KF.astype(np.float32), bias, strength, softness=softness)


def standardise(features_NF: np.ndarray, *, centred: bool, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (features of standard deviation near 1, their means, what they were divided by), shapes (N, F), (F,), (F,)."""
    mean_F, scale_F = features_NF.mean(axis=0, dtype=np.float64), compute_scales(features_NF)
    scaled_NF = (features_NF - mean_F if centred else features_NF) / scale_F
    return scaled_NF.astype(dtype, copy=False), mean_F, scale_F


def compute_scales(features_NF: np.ndarray) -> np.ndarray:
    """Return what each feature is divided by, shape (F,): its standard deviation; its size if it is as good as constant.

    Few rows estimate the spread of many features badly, so its square is shrunk towards the mean of all: of N rows it has the
    weight N / (N + F). Measured with 8 and 64 rows a label, docs/explanation/head-start.md.

    A feature much smaller than the others stays small. Some networks have dead ones of size 1e-30; brought to the size of the
    others they would get weights of 1e30, and so would the gradients of what is below.
    """
    num_rows, num_features = features_NF.shape
    size_F = np.sqrt(np.square(features_NF, dtype=np.float64).mean(axis=0))
    spread_F = features_NF.std(axis=0, dtype=np.float64)
    own = num_rows / (num_rows + num_features)
    shrunk_F = np.sqrt(own * spread_F**2 + (1 - own) * np.square(spread_F).mean())
    scale_F = np.where(spread_F > LEAST_SCALE * size_F, shrunk_F, np.maximum(size_F, shrunk_F))
    scale_F = np.maximum(scale_F, DEAD_SHARE * np.median(scale_F))
    return np.where(scale_F > 0, scale_F, 1.0)


def _choose_strength(
    features: np.ndarray, targets: np.ndarray, *, num_labels: int, weights: np.ndarray | None, intercept: bool
) -> tuple[float, float]:
    """Return the C for a head and the loss of rows left out, see `choose_strength`. `weights`: of the rows, shape (N,)."""
    how: dict[str, Any] = {"num_labels": num_labels, "weights": weights, "intercept": intercept}
    return choose_strength(
        lambda strength: log_likelihoods(cross_validate(features, targets, strength=strength, **how), targets),
        weights_N=weights,
        judged_N=find_judged(targets),
    )


def find_judged(targets: np.ndarray, *, num_folds: int = NUM_FOLDS) -> np.ndarray:
    """Return whether the rows that are kept can know the label of a row that is left out, shape (N,): the only row of its label,
    or one of rows without which there is one label alone, has a likelihood of 0, which says nothing of the features."""
    folds = split_into_folds(targets, num_folds)
    judged_N = np.zeros(len(targets), dtype=bool)
    for fold in range(num_folds):
        kept = np.unique(targets[folds != fold])
        judged_N |= (folds == fold) & np.isin(targets, kept) & (len(kept) > 1)
    return judged_N


def choose_strength(
    measure: Callable[[float], np.ndarray], *, weights_N: np.ndarray | None, judged_N: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the lowest C whose likelihood of rows that are left out is within one standard error of the highest, and their loss.

    The likelihood of few rows is noisy, and a lower C is the safer error (the one-standard-error rule: Hastie, Tibshirani and
    Friedman, The Elements of Statistical Learning, 7.10).

    `measure`: returns the log-likelihoods of all rows with a C, each while it was left out, shape (N,).
    `judged_N`: the rows whose loss is returned; all if there is none of them.
    """
    share_N = 1.0 if weights_N is None else weights_N / np.mean(weights_N)
    found: list[np.ndarray] = []
    means: list[float] = []
    for strength in PROBE_STRENGTHS:
        found.append(measure(strength) * share_N)
        means.append(float(found[-1].mean()))
        if len(found) - 1 - int(np.argmax(means)) >= PATIENCE:
            break
    best = int(np.argmax(means))
    for number in range(best):
        lost_N = found[best] - found[number]
        if lost_N.mean() <= lost_N.std() / len(lost_N) ** 0.5:
            best = number
            break
    if judged_N is None or judged_N.all() or not judged_N.any():
        return PROBE_STRENGTHS[best], -means[best]
    share = float(np.broadcast_to(share_N, judged_N.shape)[judged_N].mean())
    return PROBE_STRENGTHS[best], -float(found[best][judged_N].mean()) / share
