"""Metrics of predictions with any number of labels for each text.

Shape suffixes: N texts, C labels.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from finewright.tasks.metrics import wilson_interval


def load_libraries() -> None:
    """Import the libraries of `measure`. It takes over a second, which shall not count as evaluation time."""
    importlib.import_module("scipy.stats")
    importlib.import_module("sklearn.metrics")


def measure(
    scores_NC: np.ndarray, targets_NC: np.ndarray, *, labels: Sequence[str], thresholds: Sequence[float]
) -> dict[str, Any]:
    """Return the metrics of a split, JSON-ready. Raise `ValueError` if it is empty.

    F1 is that of the labels whose probability is at least their threshold. `micro_f1` counts every label of every text alike,
    `macro_f1` is the mean over the labels that occur among targets or predictions, `samples_f1` the mean over texts, where a
    text without a label that gets none counts 1. `subset_accuracy` is the share of texts with exactly their labels,
    `hamming_loss` the share of wrong decisions, `average_precision` the mean over labels that occur, `loss` the mean binary
    cross-entropy in nats. Average precision and loss do not depend on the thresholds.
    """
    if len(targets_NC) == 0:
        raise ValueError("no rows to measure")
    has_NC, probabilities_NC = targets_NC > 0, sigmoid(scores_NC)
    said_NC = probabilities_NC >= np.asarray(thresholds)
    both_NC = has_NC & said_NC
    hits_C, support_C, said_C = both_NC.sum(axis=0), has_NC.sum(axis=0), said_NC.sum(axis=0)
    f1_C = 2 * hits_C / np.maximum(1, support_C + said_C)
    precision_C, recall_C = hits_C / np.maximum(1, said_C), hits_C / np.maximum(1, support_C)
    occurs_C = (support_C + said_C) > 0
    precisions = average_precisions(probabilities_NC, has_NC)
    num_hits, num_said, num_has = int(hits_C.sum()), int(said_C.sum()), int(support_C.sum())
    return {
        "num_rows": len(targets_NC),
        "micro_f1": _f1(num_hits, num_said + num_has),
        "micro_f1_ci95": list(micro_f1_interval(has_NC, said_NC)),
        "micro_precision": num_hits / max(1, num_said),
        "micro_recall": num_hits / max(1, num_has),
        "macro_f1": float(f1_C[occurs_C].mean()) if occurs_C.any() else 1.0,
        "samples_f1": float(row_f1(has_NC, said_NC).mean()),
        "subset_accuracy": float((has_NC == said_NC).all(axis=1).mean()),
        "hamming_loss": float((has_NC != said_NC).mean()),
        "average_precision": float(np.mean([value for value in precisions if value is not None] or [0.0])),
        "loss": float(row_losses(scores_NC, targets_NC).mean()),
        "labels_per_row": float(has_NC.sum(axis=1).mean()),
        "per_label": {
            label: {
                "num_rows": int(support_C[index]),
                "precision": float(precision_C[index]),
                "recall": float(recall_C[index]),
                "f1": float(f1_C[index]),
                "average_precision": precisions[index],
                "threshold": float(thresholds[index]),
            }
            for index, label in enumerate(labels)
        },
    }


def _f1(num_hits: int, num_either: int) -> float:
    """Return F1; 1 if there is no label, neither in the targets nor in the predictions."""
    return 2 * num_hits / num_either if num_either else 1.0


def sigmoid(scores_NC: np.ndarray) -> np.ndarray:
    """Return the probability of each label in float64, shape (N, C)."""
    return 1 / (1 + np.exp(-scores_NC.astype(np.float64).clip(-500, 500)))


def row_f1(has_NC: np.ndarray, said_NC: np.ndarray) -> np.ndarray:
    """Return F1 of the labels of each text, shape (N,); 1 where it has none and gets none."""
    either_N = has_NC.sum(axis=1) + said_NC.sum(axis=1)
    return np.where(either_N > 0, 2 * (has_NC & said_NC).sum(axis=1) / np.maximum(1, either_N), 1.0)


def row_losses(scores_NC: np.ndarray, targets_NC: np.ndarray) -> np.ndarray:
    """Return the mean binary cross-entropy of each text over the labels, in nats, shape (N,)."""
    scores_NC = scores_NC.astype(np.float64)
    return (np.logaddexp(0.0, scores_NC) - targets_NC * scores_NC).mean(axis=1)


def average_precisions(probabilities_NC: np.ndarray, has_NC: np.ndarray) -> list[float | None]:
    """Return the average precision of each label; None for a label that no text has."""
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(has_NC[:, label], probabilities_NC[:, label])) if has_NC[:, label].any() else None
        for label in range(has_NC.shape[1])
    ]


def micro_f1_interval(has_NC: np.ndarray, said_NC: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of micro F1 over texts, the units that were drawn: the labels of one text go together.

    Micro F1 is a ratio of two sums over texts, whose variance follows by the delta method (Takahashi et al. 2022, "Confidence
    interval for micro-averaged F1 and macro-averaged F1 scores", take single labels as the units). Where all texts came out
    alike it is Wilson's interval.
    """
    twice_N, either_N = 2.0 * (has_NC & said_NC).sum(axis=1), (has_NC.sum(axis=1) + said_NC.sum(axis=1)).astype(float)
    num_rows, total = len(twice_N), either_N.sum()
    if total == 0:
        return wilson_interval(num_rows, num_rows)
    f1 = float(twice_N.sum() / total)
    variance = float(np.square(twice_N - f1 * either_N).sum()) * num_rows / max(1, num_rows - 1) / total**2
    if variance == 0:
        return wilson_interval(f1 * num_rows, num_rows)
    half = 1.959964 * variance**0.5
    return max(0.0, f1 - half), min(1.0, f1 + half)
