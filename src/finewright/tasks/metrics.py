"""Classification metrics with their uncertainty."""

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from finewright.core.units import counted

NUM_CALIBRATION_BINS = 15
NUM_SHOWN_BINS, LEAST_IN_BIN = 10, 5
"""Number of bins of a plotted calibration curve; fewest rows of a bin that is plotted."""

CONFIDENCE_DIGITS = 4
"""Decimals of a confidence in a file."""
REVIEW_SHARE, LEAST_REVIEWED, DEFAULT_REVIEW = 0.95, 20, 0.8
"""Share of right predictions from the review threshold on; fewest rows to measure it; the threshold where they are fewer."""


def load_libraries() -> None:
    """Import the libraries of `classification_metrics`. It takes over a second, which shall not count as evaluation time."""
    importlib.import_module("scipy.stats")
    importlib.import_module("sklearn.metrics")


def wilson_interval(successes: float, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927), (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    from scipy.stats import norm

    z, share = float(norm.ppf(0.5 + level / 2)), successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration_error(probabilities: np.ndarray, targets: np.ndarray, *, num_bins: int = NUM_CALIBRATION_BINS) -> float:
    """Return the expected calibration error over equal-width bins of confidence (Guo et al. 2017, arXiv:1706.04599)."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = [abs(correct[bins == index].mean() - confidence[bins == index].mean()) * (bins == index).mean() for index in set(bins)]
    return float(sum(gaps))


def calibration_points(sure: np.ndarray, right: np.ndarray) -> list[tuple[float, float]]:
    """Return (mean probability, share of correct rows) of equal-width bins with enough rows."""
    bins = np.minimum((sure * NUM_SHOWN_BINS).astype(int), NUM_SHOWN_BINS - 1)
    shown = [index for index in range(NUM_SHOWN_BINS) if (bins == index).sum() >= LEAST_IN_BIN]
    return [(float(sure[bins == index].mean()), float(right[bins == index].mean())) for index in shown]


def find_review_threshold(sure: np.ndarray, right: np.ndarray) -> dict[str, float] | None:
    """Return the lowest confidence at or above which enough predictions were right, with the rows and their share.

    None if there are too few rows, or none is high enough. Confidences are compared as they are written, rounded.
    """
    sure = np.round(sure, CONFIDENCE_DIGITS)
    order = np.argsort(-sure, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.append(np.diff(sure[order]) != 0, True)  # rows of equal confidence are on the same side
    fitting = [place for place in np.flatnonzero(ends & (shares >= REVIEW_SHARE)).tolist() if place + 1 >= LEAST_REVIEWED]
    if not fitting:
        return None
    last = fitting[-1]
    return {"threshold": float(sure[order[last]]), "num_rows": last + 1, "share_right": float(shares[last])}


def describe_review_threshold(measured: Mapping[str, Any]) -> tuple[float, str]:
    """Return the confidence below which a prediction needs review, by the metrics of the validation split, and the reason."""
    num_rows, found = measured.get("num_rows", 0), measured.get("review")
    if found:
        share = f"{math.floor(found['share_right'] * 1000) / 10:g}%"
        return found[
            "threshold"
        ], f"at or above it, {share} of {counted(found['num_rows'], 'validation row was', 'validation rows were')} right"
    if num_rows < LEAST_REVIEWED:
        return DEFAULT_REVIEW, f"assumed: {counted(num_rows, 'validation row is', 'validation rows are')} too few to measure it"
    return 1.0, f"at no confidence were {REVIEW_SHARE:.0%} of the {counted(num_rows, 'validation row')} right"


def classification_metrics(
    probabilities: np.ndarray, targets: Sequence[int] | np.ndarray, *, labels: Sequence[str]
) -> dict[str, Any]:
    """Return the metrics of a split, JSON-ready; probabilities (N, C), targets (N,). Raise `ValueError` if it is empty.

    Macro F1 is the mean over the labels that occur among targets or predictions, scikit-learn's default; a label that is
    never predicted correctly counts 0. `per_class` has every label. `loss` is the mean negative log likelihood in nats.
    """
    if len(targets) == 0:
        raise ValueError("no rows to measure")
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    targets, indices = np.asarray(targets), list(range(len(labels)))
    predicted = probabilities.argmax(axis=1)
    num_correct = int((predicted == targets).sum())
    averages = precision_recall_fscore_support(targets, predicted, labels=indices, zero_division=0)
    precision, recall, f1, support = (np.asarray(values) for values in averages)
    likelihood = probabilities[np.arange(len(targets)), targets].clip(min=np.finfo(float).tiny)
    return {
        "num_rows": len(targets),
        "accuracy": num_correct / len(targets),
        "accuracy_ci95": list(wilson_interval(num_correct, len(targets))),
        "macro_f1": float(np.mean(f1[np.union1d(targets, predicted)])),
        "loss": float(-np.log(likelihood).mean()),
        "calibration_error": calibration_error(probabilities, targets),
        "majority_accuracy": float(np.bincount(targets).max() / len(targets)),
        "review": find_review_threshold(probabilities.max(axis=1), predicted == targets),
        "per_class": {
            label: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "num_rows": int(support[index]),
            }
            for index, label in enumerate(labels)
        },
        "confusion": confusion_matrix(targets, predicted, labels=indices).tolist(),
    }


def is_better_than_majority(measured: dict[str, Any]) -> bool:
    """Return whether the accuracy's interval lies above the accuracy of always predicting the most frequent label."""
    return measured["accuracy_ci95"][0] > measured["majority_accuracy"]
