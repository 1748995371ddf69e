"""Classification metrics with their uncertainty."""

import importlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from finewright.core.units import counted

NUM_CALIBRATION_BINS = 15
NUM_SHOWN_BINS, LEAST_IN_BIN = 10, 5
"""Number of bins of a plotted calibration curve; fewest rows of a bin that is plotted."""

MOST_MATRIX_LABELS, MOST_CONFUSIONS = 200, 100
"""Labels up to which a split keeps its whole confusion matrix: with 10,000 it has 100 million numbers. Of more labels the most
frequent confusions are kept, so many."""
MOST_LISTED_LABELS = 1000
"""Labels up to which a prediction lists the probability of each; of more labels `NUM_LISTED`, the most probable ones."""
NUM_LISTED = 100
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


@dataclass(frozen=True)
class ClassifiedRows:
    """What the metrics need of the probabilities of all labels, each of shape (N,).

    `targets`, `predicted`: indices of labels. `confidence`: probability of the predicted label. `likelihood`: that of the target.
    """

    targets: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    likelihood: np.ndarray

    @classmethod
    def from_probabilities(cls, probabilities: np.ndarray, targets: Sequence[int] | np.ndarray) -> Self:
        """Reduce probabilities of shape (N, C)."""
        targets_N = np.asarray(targets, dtype=int)
        likelihood_N = probabilities[np.arange(len(targets_N)), targets_N]
        return cls(targets_N, probabilities.argmax(axis=1), probabilities.max(axis=1), likelihood_N)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, *, num_bins: int = NUM_CALIBRATION_BINS) -> float:
    """Return the expected calibration error over equal-width bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    `confidence`: probability of the predicted label. `correct`: whether it is the row's own. Both of shape (N,).
    """
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
    """Return the metrics of a split, JSON-ready, as `measure_rows` does; probabilities (N, C), targets (N,)."""
    return measure_rows(ClassifiedRows.from_probabilities(probabilities, targets), labels=labels)


def measure_rows(rows: ClassifiedRows, *, labels: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of a split, JSON-ready. Raise `ValueError` if it is empty.

    Macro F1 is the mean over the labels that occur among targets or predictions, scikit-learn's default; a label that is
    never predicted correctly counts 0. `per_class` has every label. `loss` is the mean negative log likelihood in nats.
    `confusion` is empty with more than MOST_MATRIX_LABELS labels; `confusions` has the most frequent ones instead.
    """
    if len(rows.targets) == 0:
        raise ValueError("no rows to measure")
    from sklearn.metrics import precision_recall_fscore_support

    targets, predicted, indices = rows.targets, rows.predicted, list(range(len(labels)))
    num_correct = int((predicted == targets).sum())
    averages = precision_recall_fscore_support(targets, predicted, labels=indices, zero_division=0)
    precision, recall, f1, support = (np.asarray(values) for values in averages)
    return {
        "num_rows": len(targets),
        "accuracy": num_correct / len(targets),
        "accuracy_ci95": list(wilson_interval(num_correct, len(targets))),
        "macro_f1": float(np.mean(f1[np.union1d(targets, predicted)])),
        "loss": float(-np.log(rows.likelihood.clip(min=np.finfo(float).tiny)).mean()),
        "calibration_error": calibration_error(rows.confidence, predicted == targets),
        "majority_accuracy": float(np.bincount(targets).max() / len(targets)),
        "review": find_review_threshold(rows.confidence, predicted == targets),
        "per_class": {
            label: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "num_rows": int(support[index]),
            }
            for index, label in enumerate(labels)
        },
        **_count_confusions(predicted, targets, labels=labels),
    }


def _count_confusions(predicted: np.ndarray, targets: np.ndarray, *, labels: Sequence[str]) -> dict[str, Any]:
    """Return how often each label was taken for each: all counts, or of many labels the most frequent ones off the diagonal."""
    if len(labels) <= MOST_MATRIX_LABELS:
        from sklearn.metrics import confusion_matrix

        return {"confusion": confusion_matrix(targets, predicted, labels=list(range(len(labels)))).tolist()}
    pairs = Counter(zip(targets.tolist(), predicted.tolist(), strict=True))
    wrong = sorted((-count, pair) for pair, count in pairs.items() if pair[0] != pair[1])[:MOST_CONFUSIONS]
    return {
        "confusion": [],
        "confusions": [{"label": labels[true], "predicted": labels[said], "num_rows": -count} for count, (true, said) in wrong],
    }


def is_better_than_majority(measured: dict[str, Any]) -> bool:
    """Return whether the accuracy's interval lies above the accuracy of always predicting the most frequent label."""
    return measured["accuracy_ci95"][0] > measured["majority_accuracy"]
