"""The probability from which on a text has a label, for each label: that of the best F1 on validation rows, shrunk towards 0.5.

The best threshold of few rows is mostly chance. Its logarithm of odds is multiplied by n / (n + `PRIOR_ROWS`), where n are the
validation rows that have the label: one row moves it a quarter of the way, a hundred decide it.

Shape suffixes: N texts, C labels.
"""

import numpy as np

DEFAULT = 0.5
"""The threshold without validation rows: a text has the label if that is more probable than not."""
PRIOR_ROWS = 3
"""Rows of a label that weigh as much as the threshold 0.5. Simulated with 40 to 1,000 validation rows, of which 3% to 30% have
the label: a calibrated model loses at most 0.01 of F1 against 0.5 and gains up to 0.09, one whose odds are too low gains up to
0.28 (`benchmarks/label_thresholds.py`)."""
LOWEST, HIGHEST = 0.01, 0.99
_DIGITS = 4


def fit_thresholds(probabilities_NC: np.ndarray, targets_NC: np.ndarray) -> tuple[float, ...]:
    """Return a threshold for each label; 0.5 for one that no row has, or all rows have. Rounded, as they are saved."""
    return tuple(
        _fit_one(probabilities_NC[:, label].astype(np.float64), targets_NC[:, label] > 0) for label in range(targets_NC.shape[1])
    )


def _fit_one(probability_N: np.ndarray, has_label_N: np.ndarray) -> float:
    num_rows = int(has_label_N.sum())
    if num_rows in (0, len(has_label_N)):
        return DEFAULT
    best = find_best_threshold(probability_N, has_label_N)
    odds = np.log(best / (1 - best)) * num_rows / (num_rows + PRIOR_ROWS)
    return round(float(1 / (1 + np.exp(-odds))), _DIGITS)


def find_best_threshold(probability_N: np.ndarray, has_label_N: np.ndarray) -> float:
    """Return the threshold of the highest F1 on these rows, of equally good ones the nearest to 0.5.

    Thresholds lie halfway between neighbouring probabilities, on the scale of the logarithm of odds, or at 0.5 where that is
    between them.
    """
    clipped_N = probability_N.clip(LOWEST / 2, 1 - LOWEST / 2)
    odds_N = np.log(clipped_N / (1 - clipped_N))
    order = np.argsort(-odds_N, kind="stable")
    odds_N, hits_N = odds_N[order], np.cumsum(has_label_N[order])
    num_said_N, num_rows = np.arange(1, len(odds_N) + 1), int(hits_N[-1])
    ends = np.append(np.diff(odds_N) != 0, True)
    f1_N = np.where(ends, 2 * hits_N / (num_said_N + num_rows), -1.0)
    below_N = np.append(odds_N[1:], odds_N[-1] - 1.0)
    threshold_N = np.where((below_N < 0) & (odds_N >= 0), 0.0, (odds_N + below_N) / 2)
    best = np.flatnonzero(f1_N >= f1_N.max() - 1e-12)
    found = threshold_N[best[np.argmin(np.abs(threshold_N[best]))]]
    return float(np.clip(1 / (1 + np.exp(-found)), LOWEST, HIGHEST))
