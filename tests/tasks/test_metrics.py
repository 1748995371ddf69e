"""Metrics against closed forms."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from finewright.tasks import metrics


def test_wilson_equals_the_textbook():
    low, high = metrics.wilson_interval(8, 10)
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)
    assert metrics.wilson_interval(10, 10)[1] == pytest.approx(1.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_share_and_is_in_bounds(pair):
    low, high = metrics.wilson_interval(*pair)
    assert 0 <= low <= pair[0] / pair[1] + 1e-12
    assert pair[0] / pair[1] - 1e-12 <= high <= 1


PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])


def test_all_metrics_by_hand():
    measured = metrics.classification_metrics(PROBABILITIES, [0, 1, 1, 0], labels=("a", "b", "c"))
    assert measured["accuracy"] == 0.5
    assert measured["loss"] == pytest.approx(-(math.log(0.7) + math.log(0.8) + math.log(0.3) + math.log(0.2)) / 4)
    assert measured["majority_accuracy"] == 0.5
    assert measured["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert measured["macro_f1"] == pytest.approx((0.5 + 0.5) / 2), "c does not occur"
    assert measured["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "num_rows": 2}
    assert measured["calibration_error"] == pytest.approx((0.3 + 0.2 + 0.6 + 0.5) / 4)


def test_calibration_error_is_zero_for_a_calibrated_model():
    assert metrics.calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == pytest.approx(0)


def test_the_loss_of_a_certain_and_wrong_prediction_is_finite():
    assert math.isfinite(metrics.classification_metrics(np.array([[1.0, 0.0]]), [1], labels=("a", "b"))["loss"])


def test_better_than_majority_uses_the_interval():
    correct = np.eye(2)[[0, 1] * 50]
    assert metrics.is_better_than_majority(metrics.classification_metrics(correct, [0, 1] * 50, labels=("a", "b")))
    assert not metrics.is_better_than_majority(metrics.classification_metrics(correct[:2], [0, 0], labels=("a", "b")))


def test_an_empty_split_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        metrics.classification_metrics(np.zeros((0, 2)), [], labels=("a", "b"))


def test_labels_that_never_occur_have_their_row_and_column():
    """Classes 0 and 2 occur, 1 does not: the confusion matrix has a row and a column for every label."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.2, 0.1, 0.7]])
    measured = metrics.classification_metrics(probabilities, np.array([0, 2, 0]), labels=("x", "never", "z"))
    assert measured["confusion"] == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert measured["per_class"]["z"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "num_rows": 1}
    assert measured["per_class"]["never"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "num_rows": 0}
    assert measured["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert measured["majority_accuracy"] == pytest.approx(2 / 3)


@st.composite
def scored(draw):
    num_rows, num_labels = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = noise.normal(scale=3, size=(num_rows, num_labels))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), noise.integers(num_labels, size=num_rows)


@given(scored())
def test_invariants_of_every_split(split):
    probabilities, targets = split
    num_rows, num_labels = probabilities.shape
    labels = tuple("abcdef"[:num_labels])
    measured = metrics.classification_metrics(probabilities, targets, labels=labels)
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured, "JSON-ready"
    confusion = np.array(measured["confusion"])
    assert confusion.sum() == measured["num_rows"] == num_rows
    assert confusion.trace() / num_rows == pytest.approx(measured["accuracy"])
    assert confusion.sum(axis=1).tolist() == [measured["per_class"][label]["num_rows"] for label in labels]
    assert confusion.sum(axis=1).max() / num_rows == pytest.approx(measured["majority_accuracy"])
    assert measured["macro_f1"] == pytest.approx(
        f1_score(targets, probabilities.argmax(axis=1), average="macro", zero_division=0)
    )
    assert 0 <= measured["calibration_error"] <= 1
    assert measured["loss"] == pytest.approx(
        float(np.mean([-math.log(row[t]) for row, t in zip(probabilities, targets, strict=True)]))
    )
    reversed_rows = metrics.classification_metrics(probabilities[::-1], targets[::-1], labels=labels)
    assert reversed_rows["macro_f1"] == pytest.approx(measured["macro_f1"])
    assert reversed_rows["calibration_error"] == pytest.approx(measured["calibration_error"])


def test_the_review_threshold_is_the_lowest_that_is_right_often_enough():
    sure = np.array([0.9] * 30 + [0.8] * 10 + [0.6] * 60)
    right = np.array([True] * 30 + [True] * 8 + [False] * 2 + [True] * 30 + [False] * 30)
    found = metrics.find_review_threshold(sure, right)
    assert found == {"threshold": 0.8, "num_rows": 40, "share_right": 0.95}
    assert metrics.describe_review_threshold({"num_rows": 100, "review": found}) == (
        0.8,
        "at or above it, 95% of 40 validation rows were right",
    )
    right[30] = False
    assert metrics.find_review_threshold(sure, right)["threshold"] == 0.9, "rows of equal confidence stay together"


def test_without_enough_rows_or_right_ones_there_is_no_review_threshold():
    assert metrics.find_review_threshold(np.full(19, 0.9), np.full(19, True)) is None
    assert metrics.describe_review_threshold({"num_rows": 19, "review": None})[0] == metrics.DEFAULT_REVIEW
    assert metrics.describe_review_threshold({})[1] == "assumed: 0 validation rows are too few to measure it"
    assert metrics.find_review_threshold(np.full(40, 0.9), np.arange(40) % 2 == 0) is None
    threshold, reason = metrics.describe_review_threshold({"num_rows": 40, "review": None})
    assert (threshold, reason) == (1.0, "at no confidence were 95% of the 40 validation rows right")


def test_the_metrics_of_a_split_have_the_review_threshold():
    correct = np.eye(2)[[0, 1] * 20] * 0.8 + 0.1
    measured = metrics.classification_metrics(correct, [0, 1] * 20, labels=("a", "b"))
    assert measured["review"] == {"threshold": 0.9, "num_rows": 40, "share_right": 1.0}


def test_very_many_labels_have_their_most_frequent_confusions_and_no_matrix():
    labels = [f"label {number}" for number in range(metrics.MOST_MATRIX_LABELS + 1)]
    targets = np.array([7, 7, 7, 3, 150])
    chosen = np.array([9, 9, 7, 4, 150])
    measured = metrics.classification_metrics(np.eye(len(labels))[chosen], targets, labels=labels)
    assert measured["confusion"] == []
    assert [tuple(one.values()) for one in measured["confusions"]] == [("label 7", "label 9", 2), ("label 3", "label 4", 1)]
    assert measured["accuracy"] == pytest.approx(0.4)
