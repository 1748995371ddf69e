"""Metrics against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewright import metrics


def test_wilson_equals_the_textbook():
    low, high = metrics.wilson(8, 10)
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert metrics.wilson(0, 0) == (0.0, 1.0)
    assert metrics.wilson(10, 10)[1] == pytest.approx(1.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_in_bounds(pair):
    low, high = metrics.wilson(*pair)
    assert 0 <= low <= pair[0] / pair[1] + 1e-12
    assert pair[0] / pair[1] - 1e-12 <= high <= 1


SHARES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])


def test_everything_by_hand():
    measured = metrics.classification(SHARES, [0, 1, 1, 0], labels=("a", "b", "c"))
    assert measured["accuracy"] == 0.5
    assert measured["loss"] == pytest.approx(-(math.log(0.7) + math.log(0.8) + math.log(0.3) + math.log(0.2)) / 4)
    assert measured["majority_accuracy"] == 0.5
    assert measured["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert measured["macro_f1"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert measured["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "num_rows": 2}
    assert measured["calibration_error"] == pytest.approx((0.3 + 0.2 + 0.6 + 0.5) / 4)


def test_calibration_is_zero_for_a_model_that_knows_how_sure_it_is():
    shares = np.array([[0.75, 0.25]] * 4)
    assert metrics.calibration_error(shares, np.array([0, 0, 0, 1])) == pytest.approx(0)


def test_certain_and_wrong_is_finite():
    assert math.isfinite(metrics.classification(np.array([[1.0, 0.0]]), [1], labels=("a", "b"))["loss"])


def test_better_than_majority_asks_the_interval():
    right = np.eye(2)[[0, 1] * 50]
    assert metrics.better_than_majority(metrics.classification(right, [0, 1] * 50, labels=("a", "b")))
    assert not metrics.better_than_majority(metrics.classification(right[:2], [0, 0], labels=("a", "b")))


def test_nothing_to_measure():
    with pytest.raises(ValueError, match="no rows"):
        metrics.classification(np.zeros((0, 2)), [], labels=("a", "b"))
