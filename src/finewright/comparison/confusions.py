"""How often a method took rows of one label for another, mean over seeds."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from finewright.tasks.metrics import MOST_MATRIX_LABELS

if TYPE_CHECKING:
    from finewright.comparison.results import MethodResult


def count_confusions(entry: "MethodResult") -> dict[tuple[int, int], float]:
    """Count test rows by (label, predicted label); only pairs that occur, as of 10,000 labels few do."""
    assert entry.predictions is not None
    predicted, targets = entry.predictions.classes
    counts = Counter(pair for chosen in predicted for pair in zip(targets.tolist(), chosen.tolist(), strict=True))
    return {pair: count / len(predicted) for pair, count in counts.items()}


def build_matrix(entry: "MethodResult", *, num_labels: int) -> np.ndarray:
    """Return the counts as an array of shape (labels, labels)."""
    counts = np.zeros((num_labels, num_labels))
    for (target, chosen), count in count_confusions(entry).items():
        counts[target, chosen] = count
    return counts


def list_matrix(entry: "MethodResult", *, num_labels: int) -> list[list[float]] | None:
    """Return the whole matrix for a file; None without predictions, and of very many labels."""
    if entry.predictions is None or num_labels > MOST_MATRIX_LABELS:
        return None
    return build_matrix(entry, num_labels=num_labels).tolist()
