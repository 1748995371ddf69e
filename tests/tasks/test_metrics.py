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
def test_wilson_holds_the_share_and_stays_in_bounds(pair):
    low, high = metrics.wilson_interval(*pair)
    assert 0 <= low <= pair[0] / pair[1] + 1e-12
    assert pair[0] / pair[1] - 1e-12 <= high <= 1


SHARES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])


def test_everything_by_hand():
    measured = metrics.classification_metrics(SHARES, [0, 1, 1, 0], labels=("a", "b", "c"))
    assert measured["accuracy"] == 0.5
    assert measured["loss"] == pytest.approx(-(math.log(0.7) + math.log(0.8) + math.log(0.3) + math.log(0.2)) / 4)
    assert measured["majority_accuracy"] == 0.5
    assert measured["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert measured["macro_f1"] == pytest.approx((0.5 + 0.5) / 2), "nothing is known of c"
    assert measured["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "num_rows": 2}
    assert measured["calibration_error"] == pytest.approx((0.3 + 0.2 + 0.6 + 0.5) / 4)


def test_calibration_is_zero_for_a_model_that_knows_how_sure_it_is():
    shares = np.array([[0.75, 0.25]] * 4)
    assert metrics.calibration_error(shares, np.array([0, 0, 0, 1])) == pytest.approx(0)


def test_certain_and_wrong_is_finite():
    assert math.isfinite(metrics.classification_metrics(np.array([[1.0, 0.0]]), [1], labels=("a", "b"))["loss"])


def test_better_than_majority_asks_the_interval():
    right = np.eye(2)[[0, 1] * 50]
    assert metrics.is_better_than_majority(metrics.classification_metrics(right, [0, 1] * 50, labels=("a", "b")))
    assert not metrics.is_better_than_majority(metrics.classification_metrics(right[:2], [0, 0], labels=("a", "b")))


def test_nothing_to_measure():
    with pytest.raises(ValueError, match="no rows"):
        metrics.classification_metrics(np.zeros((0, 2)), [], labels=("a", "b"))


def test_labels_that_never_occur_keep_their_place():
    """Numbers 0 and 2 occur, 1 does not: the rows and columns of the confusion are by label, not by what is there."""
    shares = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.2, 0.1, 0.7]])
    measured = metrics.classification_metrics(shares, np.array([0, 2, 0]), labels=("x", "never", "z"))
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
def test_what_holds_for_every_split(split):
    shares, targets = split
    num_rows, num_labels = shares.shape
    labels = tuple("abcdef"[:num_labels])
    measured = metrics.classification_metrics(shares, targets, labels=labels)
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured, "plain numbers"
    confusion = np.array(measured["confusion"])
    assert confusion.sum() == measured["num_rows"] == num_rows
    assert confusion.trace() / num_rows == pytest.approx(measured["accuracy"])
    assert confusion.sum(axis=1).tolist() == [measured["per_class"][label]["num_rows"] for label in labels]
    assert confusion.sum(axis=1).max() / num_rows == pytest.approx(measured["majority_accuracy"])
    assert measured["macro_f1"] == pytest.approx(f1_score(targets, shares.argmax(axis=1), average="macro", zero_division=0))
    assert 0 <= measured["calibration_error"] <= 1
    assert measured["loss"] == pytest.approx(float(np.mean([-math.log(row[t]) for row, t in zip(shares, targets, strict=True)])))
    turned = metrics.classification_metrics(shares[::-1], targets[::-1], labels=labels)
    assert turned["macro_f1"] == pytest.approx(measured["macro_f1"])
    assert turned["calibration_error"] == pytest.approx(measured["calibration_error"])
