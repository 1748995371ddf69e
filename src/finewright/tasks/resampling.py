"""The bootstrap over rows: sums over rows that are drawn with replacement, from a fixed seed, and intervals from them.

Shape suffixes: N rows, K numbers of a row, R resamples.
"""

import numpy as np

from finewright.tasks.metrics import wilson_interval

NUM_RESAMPLES, FEW_RESAMPLES, MANY_ROWS = 1000, 200, 20_000
"""Resamples of the rows, and of more than `MANY_ROWS` fewer: their intervals are narrow."""
LEVEL, INTERVAL_WIDTH = 0.95, 3.92
"""Level of the intervals, and how many standard errors lie between their ends."""
_CELLS_AT_ONCE = 2_000_000
"""Weights of rows that are held at a time, 16 MB."""


def resample_sums(values_NK: np.ndarray) -> np.ndarray:
    """Return the sums over the rows of each resample, float64, shape (R, K).

    The rows are the same for all models on the same number of rows.
    """
    num_rows = len(values_NK)
    count = NUM_RESAMPLES if num_rows <= MANY_ROWS else FEW_RESAMPLES
    at_once = max(1, _CELLS_AT_ONCE // max(1, num_rows))
    rng, sums = np.random.default_rng(0), []
    for first in range(0, count, at_once):
        weights_RN = np.empty((min(at_once, count - first), num_rows))
        for row_N in weights_RN:
            row_N[:] = np.bincount(rng.integers(num_rows, size=num_rows), minlength=num_rows)
        sums.append(weights_RN @ values_NK)
    return np.concatenate(sums)


def percentile_interval(values_R: np.ndarray) -> tuple[float, float] | None:
    """Return the 95% interval of a number from its values in the resamples; None if it is finite in none of them."""
    values_R = values_R[np.isfinite(values_R)]
    if not len(values_R):
        return None
    low, high = np.quantile(values_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def ratio_interval(parts_N: np.ndarray, wholes_N: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of a share that is a ratio of two sums over rows, such as F1 over all labels.

    Where all resamples give the same it is Wilson's interval over rows: few rows that are all right do not show that all are.
    """
    if not len(wholes_N):
        return 0.0, 0.0
    part_R, whole_R = resample_sums(np.stack([parts_N, wholes_N], axis=1)).T
    shares_R = part_R / np.maximum(whole_R, 1)
    if np.ptp(shares_R) < 1e-12:  # but for rounding
        return wilson_interval(float(shares_R[0]) * len(wholes_N), len(wholes_N))
    found = percentile_interval(shares_R)
    assert found is not None, "every share is finite"
    return found
