"""Confident learning: thresholds and the ranking, on numbers that can be computed by hand."""

import numpy as np
import pytest

from finewright.inference import confident_learning

# label 0: its own probabilities are 0.9, 0.8, 0.1 (mean 0.6); label 1: 0.9, 0.7, 0.2 (mean 0.6)
PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
TARGETS = np.array([0, 0, 0, 1, 1, 1])


def test_a_confident_label_reaches_the_mean_of_its_label():
    found = confident_learning.find_confident_labels(PROBABILITIES, TARGETS)
    assert found.tolist() == [0, 0, 1, 1, 1, 0]
    unsure = np.array([[0.55, 0.45], *PROBABILITIES[1:].tolist()])  # thresholds 0.483 and 0.6
    assert confident_learning.find_confident_labels(unsure, TARGETS).tolist()[0] == 0
    low = np.array([*PROBABILITIES[:5].tolist(), [0.45, 0.55]])  # thresholds 0.6 and 0.717
    assert confident_learning.find_confident_labels(low, TARGETS).tolist() == [0, 0, 1, 1, -1, -1]


def test_rows_are_ranked_by_the_probability_of_their_label():
    doubts = confident_learning.doubt_labels(PROBABILITIES, TARGETS)
    assert doubts.ranking().tolist() == [2, 5, 4, 1, 0, 3]
    assert doubts.is_suspect_N.tolist() == [False, False, True, False, False, True]
    assert doubts.self_confidence_N == pytest.approx([0.9, 0.8, 0.1, 0.9, 0.7, 0.2])
