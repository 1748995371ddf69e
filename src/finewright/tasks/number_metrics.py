"""Metrics of predicted numbers with bootstrap intervals, and intervals for single predictions by split conformal prediction.

Shape suffixes: N rows, R resamples.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from finewright.tasks.resampling import percentile_interval, resample_sums


def load_libraries() -> None:
    """Import what measuring needs."""
    from scipy import stats  # noqa: F401


def number_metrics(predicted: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Return RMSE, MAE, R2, Pearson's and Spearman's correlation, each with a 95% interval from resampled rows.

    `predicted`, `true`: shape (N,), in the unit of the data. A correlation and R2 are None where numbers do not vary. Spearman's
    interval resamples the ranks of all rows.
    """
    predicted, true = predicted.astype(np.float64), true.astype(np.float64)
    shift = float(true.mean())  # squares of large numbers that hardly differ would lose all digits
    moments = _moments(predicted - shift, true - shift)
    ranked = _moments(*(_rank(values) for values in (predicted, true)))
    found = _from_moments(moments.mean(axis=1)[:, None]) | {"spearman": _correlation(ranked.mean(axis=1)[:, None])}
    drawn_means = resample_sums(np.concatenate([moments, ranked]).T).T / len(true)
    drawn = _from_moments(drawn_means[: len(moments)]) | {"spearman": _correlation(drawn_means[len(moments) :])}
    measured: dict[str, Any] = {"num_rows": len(true)}
    for name, value in found.items():
        known = math.isfinite(value[0])
        measured[name] = float(value[0]) if known else None
        interval = percentile_interval(drawn[name]) if known else None
        measured[f"{name}_ci95"] = None if interval is None else list(interval)
    return measured


def _moments(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return what all metrics are computed from, of each row, shape (7, N)."""
    error = predicted - true
    return np.stack([error**2, np.abs(error), predicted, true, predicted**2, true**2, predicted * true])


def _from_moments(means: np.ndarray) -> dict[str, np.ndarray]:
    """Return every metric from the means of the moments, shape (7, R)."""
    squared, absolute, _, true, _, true_squared, _ = means
    variance = true_squared - true**2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(_varies(variance, true_squared), 1 - squared / variance, np.nan)
    return {"rmse": np.sqrt(squared), "mae": absolute, "r2": r2, "pearson": _correlation(means)}


def _correlation(means: np.ndarray) -> np.ndarray:
    _, _, first, second, first_squared, second_squared, product = means
    variances = first_squared - first**2, second_squared - second**2
    known = _varies(variances[0], first_squared) & _varies(variances[1], second_squared)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (product - first * second) / np.sqrt(variances[0].clip(min=0) * variances[1].clip(min=0))
    return np.where(known, found.clip(-1, 1), np.nan)


def _varies(variance: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Whether a variance is more than what rounding leaves of equal numbers."""
    return variance > 1e-12 * np.maximum(size, 1e-300)


def _rank(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values) / len(values) - 0.5


def least_rows_for(level: float) -> int:
    """Return the fewest validation rows that give a finite interval of this level: (n + 1) · level must be at most n."""
    return math.ceil(level / (1 - level) - 1e-9)


def conformal_half_width(errors: Sequence[float], *, level: float) -> float | None:
    """Return the half width of intervals that hold the true number of a new row with at least this probability.

    Split conformal prediction (Lei et al. 2018, arXiv:1604.04173): the ⌈(n + 1) · level⌉-th smallest absolute error of n rows
    that were not trained on. None if there are too few of them for this level.

    Parameters
    ----------
    errors
        Absolute errors of the rows, ascending.
    level
        Wanted share of rows inside, above 0 and below 1.
    """
    place = math.ceil((len(errors) + 1) * level - 1e-9)
    return None if place > len(errors) else float(errors[max(place, 1) - 1])
