"""Counts as text."""

import pytest

from finewright.core.units import counted
from finewright.runs import intervals, thresholds
from finewright.runs.intervals import IntervalsFile


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (1, ("row",), "1 row"),
        (0, ("row",), "0 rows"),
        (1234, ("row",), "1,234 rows"),
        (1, ("row is", "rows are"), "1 row is"),
        (2, ("row is", "rows are"), "2 rows are"),
    ],
)
def test_one_is_singular(number, words, expected):
    assert counted(number, *words) == expected


def test_a_single_validation_row_is_one():
    file = IntervalsFile(mean=0.0, std=1.0, errors=[0.5])
    assert "1 validation row is too few" in intervals.describe_errors(file)
    found = thresholds.describe(thresholds.ThresholdsFile(num_rows=1, thresholds={"a": 0.5}))
    assert found == "thresholds of the labels from 1 validation row: a 0.50"
