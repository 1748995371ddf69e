"""Confident learning: how many labels are probably wrong, and which (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068).

It needs the probabilities that a classifier gives rows that it was not fitted to.

Shape suffixes: N rows, C labels.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelDoubts:
    """`self_confidence_N`: the probability of each row's own label. `expected_wrong`: estimated number of wrong labels.

    `is_suspect_N`: whether a row is confidently of another label, an off-diagonal count of the confident joint.
    """

    self_confidence_N: np.ndarray
    is_suspect_N: np.ndarray
    expected_wrong: int

    def ranking(self) -> np.ndarray:
        """Return the row numbers, the least probable label first, shape (N,)."""
        return np.argsort(self.self_confidence_N, kind="stable")


def doubt_labels(probabilities_NC: np.ndarray, targets_N: np.ndarray) -> LabelDoubts:
    """Return which labels are probably wrong. Rows are ranked by self-confidence, which found most planted errors."""
    rows_N = np.arange(len(targets_N))
    confident_N = find_confident_labels(probabilities_NC, targets_N)
    joint_CC = count_confident_joint(confident_N, targets_N, num_labels=probabilities_NC.shape[1])
    expected = joint_CC.sum() - np.trace(joint_CC)
    is_suspect_N = (confident_N >= 0) & (confident_N != targets_N)
    return LabelDoubts(probabilities_NC[rows_N, targets_N], is_suspect_N, round(float(expected)))


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


def count_confident_joint(confident_N: np.ndarray, targets_N: np.ndarray, *, num_labels: int) -> np.ndarray:
    """Return the estimated number of rows by given label (first axis) and true label, shape (C, C); the sum is N.

    Rows without a confident label are spread as the others of their label are.
    """
    counts_CC = np.zeros((num_labels, num_labels))
    sure_N = confident_N >= 0
    np.add.at(counts_CC, (targets_N[sure_N], confident_N[sure_N]), 1.0)
    sizes_C = np.bincount(targets_N, minlength=num_labels).astype(float)
    found_C = counts_CC.sum(axis=1)
    nothing = (found_C == 0) & (sizes_C > 0)
    counts_CC[nothing, nothing] = 1.0  # nothing speaks against these labels
    return counts_CC * (sizes_C / np.maximum(counts_CC.sum(axis=1), 1.0))[:, None]
