"""Metrics of numbers against scikit-learn and SciPy, their intervals, and conformal intervals."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from finewright.tasks.number_metrics import conformal_half_width, least_rows_for, number_metrics

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_values_are_those_of_the_libraries(shift):
    true = RNG.normal(size=200) * 3 + shift
    predicted = true + RNG.normal(size=200)
    found = number_metrics(predicted, true)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(true, predicted), rel=1e-6)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted), rel=1e-6)
    assert found["r2"] == pytest.approx(reference.r2_score(true, predicted), rel=1e-6)
    assert found["pearson"] == pytest.approx(stats.pearsonr(true, predicted).statistic, rel=1e-6)
    assert found["spearman"] == pytest.approx(stats.spearmanr(true, predicted).statistic, rel=1e-6)


def test_intervals_hold_the_value_of_the_population():
    """Of 60 samples of one population nearly all intervals hold its RMSE of 1."""
    inside = 0
    for _ in range(60):
        true = RNG.normal(size=120)
        low, high = number_metrics(true + RNG.normal(size=120), true)["rmse_ci95"]
        inside += low <= 1 <= high
    assert inside >= 50


@pytest.mark.parametrize(
    ("predicted", "true", "unknown"),
    [
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], {"r2", "pearson", "spearman"}),
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], {"pearson", "spearman"}),
        ([1.0], [2.0], {"r2", "pearson", "spearman"}),
    ],
)
def test_what_has_no_meaning_is_none(predicted, true, unknown):
    found = number_metrics(np.array(predicted), np.array(true))
    assert {name for name in ("rmse", "mae", "r2", "pearson", "spearman") if found[name] is None} == unknown
    assert all(found[f"{name}_ci95"] is None for name in unknown)


def test_the_half_width_is_the_ranked_error_of_split_conformal_prediction():
    errors = [float(number) for number in range(1, 100)]  # 99 rows: the 90th of 100 places
    assert conformal_half_width(errors, level=0.9) == 90.0
    assert conformal_half_width(errors[:9], level=0.9) == 9.0
    assert conformal_half_width(errors[:8], level=0.9) is None
    assert conformal_half_width([], level=0.9) is None
    assert (least_rows_for(0.9), least_rows_for(0.95), least_rows_for(0.5)) == (9, 19, 1)


def test_intervals_cover_new_rows_as_often_as_they_say():
    shares = []
    for _ in range(300):
        errors = np.abs(RNG.standard_t(3, size=60))
        half_width = conformal_half_width(sorted(errors.tolist()), level=0.9)
        shares.append((np.abs(RNG.standard_t(3, size=200)) <= half_width).mean())
    assert np.mean(shares) == pytest.approx(0.9, abs=0.015)
