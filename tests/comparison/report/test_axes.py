"""Ticks at round values, few of them, and every value in its place."""

import pytest

from finewright.comparison.report import charts


def test_values_lie_where_they_should():
    assert [charts.percent("", 0.5, 1.0).share(value) for value in (0.5, 0.75, 1.0, 2.0)] == pytest.approx([0, 0.5, 1, 1])
    rows = charts.log("", [10, 1000], written=str)
    assert rows.share(100) == pytest.approx(0.5)


def test_ticks_are_round_and_few():
    assert [written for _, written in charts.percent("", 0.803, 0.998).ticks] == ["80%", "85%", "90%", "95%", "100%"]
    assert [written for _, written in charts.percent("", 0.0, 1.0).ticks] == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert [value for value, _ in charts.linear("", 0, 2.3, written=str).ticks] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])
    for values in ([200.0], [1.0, 1.3], [0.0001, 1.0], [3, 7], [50, 5000], [1e6, 1.2e9]):
        axis = charts.log("", values, written=lambda value: f"{value:g}")
        assert 1 <= len(axis.ticks) <= 6
        assert all(0 <= axis.share(value) <= 1 for value in values)
    assert charts.percent("", 0.5, 0.5).low < charts.percent("", 0.5, 0.5).high
