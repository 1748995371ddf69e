"""Always predict the most frequent label of the training rows."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from finewright.data.dataset import Dataset

NAME = "majority"
SUMMARY = "always the most frequent label"


def label_frequencies(dataset: "Dataset") -> np.ndarray:
    """Return the share of each label among the training rows, shape (labels,)."""
    counts = Counter(row.label for row in dataset.train)
    return np.array([counts[label] for label in dataset.labels]) / len(dataset.train)
