"""The bootstrap over rows."""

import numpy as np
import pytest

from finewright.tasks import resampling
from finewright.tasks.metrics import wilson_interval


def test_sums_are_those_of_as_many_rows_and_do_not_depend_on_how_many_are_held(monkeypatch):
    values = np.stack([np.ones(50), np.arange(50.0)], axis=1)
    sums = resampling.resample_sums(values)
    assert sums.shape == (resampling.NUM_RESAMPLES, 2)
    assert set(sums[:, 0]) == {50.0}
    assert sums[:, 1].mean() == pytest.approx(np.arange(50).sum(), rel=0.02)
    monkeypatch.setattr(resampling, "_CELLS_AT_ONCE", 130)
    assert np.array_equal(resampling.resample_sums(values), sums)


def test_the_interval_of_a_ratio_is_near_that_of_the_delta_method():
    rng = np.random.default_rng(3)
    wholes = rng.integers(1, 9, size=400)
    parts = rng.binomial(wholes, 0.7)
    low, high = resampling.ratio_interval(parts, wholes)
    share = parts.sum() / wholes.sum()
    half = 1.96 * np.sqrt(np.square(parts - share * wholes).sum()) / wholes.sum()
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.006)


@pytest.mark.parametrize("share", [0, 1])
def test_rows_that_are_all_alike_have_wilsons_interval(share):
    """No entity of 60 texts found is no certainty that none of any text is."""
    wholes = np.full(60, 4)
    assert resampling.ratio_interval(share * wholes, wholes) == wilson_interval(share * 60, 60)
    assert resampling.ratio_interval(wholes[:0], wholes[:0]) == (0.0, 0.0)


def test_what_is_never_finite_has_no_interval():
    assert resampling.percentile_interval(np.array([np.nan, np.inf])) is None
