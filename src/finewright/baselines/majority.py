"""Always predict the most frequent label of the training rows."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from finewright.data.dataset import Dataset

NAME = "majority"
SUMMARY = "always the most frequent label"
SUMMARY_OF_SETS = "always the most frequent set of labels, which may be none"


def most_frequent_set(dataset: "Dataset") -> tuple[str, ...]:
    """Return the labels that most training rows have exactly; none where most rows have none."""
    return Counter(row.own_labels() for row in dataset.train).most_common(1)[0][0]


def label_frequencies(dataset: "Dataset") -> np.ndarray:
    """Return the share of the training rows that have each label, shape (labels,)."""
    counts = Counter(label for row in dataset.train for label in row.own_labels())
    return np.array([counts[label] for label in dataset.labels]) / len(dataset.train)
