"""Numbers in files: points, commas, percent, and what is refused."""

import math
import re
from decimal import Decimal

import pytest

from finewright.core.errors import UserError
from finewright.data.number_cells import NumberStyle, find_style, read_number, write_number


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["3.5", "-0.25", "1e-3", ".5", "4."], [3.5, -0.25, 0.001, 0.5, 4.0]),
        (["3,5", "2", "-0,25"], [3.5, 2.0, -0.25]),
        (["1.234,5", "2,5"], [1234.5, 2.5]),
        (["1,234.5", "2.5"], [1234.5, 2.5]),
        (["1.234.567", "8"], [1234567.0, 8.0]),
        (["1,234,567", "8"], [1234567.0, 8.0]),
        (["1 234,5", "1\u00a0000"], [1234.5, 1000.0]),
        (["1'234.5"], [1234.5]),
        (["0,125", "0,250"], [0.125, 0.25]),
        (["85%", "3.5 %"], [85.0, 3.5]),
        (["\u22123.5", "+2"], [-3.5, 2.0]),
        ([3, 2.5, "1.5"], [3.0, 2.5, 1.5]),
        ([Decimal("1.50"), Decimal(3)], [1.5, 3.0]),
    ],
)
def test_numbers_are_read_as_they_are_meant(cells, numbers):
    style = find_style(cells)
    assert [read_number(cell, style) for cell in cells] == [(number, "") for number in numbers]


def test_percent_is_said():
    assert find_style(["85%", "3 %"]) == NumberStyle("point", percent=True)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1,234", "2,500"], "'1,234' may be 1234 or 1.234"),
        (["3,5", "2.75"], "'2.75' has a decimal point and '3,5' a decimal comma"),
        (["85%", "0.5"], "some numbers are percent and others are not: '85' with and '0.5' without"),
    ],
)
def test_what_is_not_clear_is_asked(cells, words):
    with pytest.raises(UserError, match=words):
        find_style(cells)


def test_the_sign_can_be_said():
    assert read_number("1,234", find_style(["1,234"], decimal="comma")) == (1.234, "")
    assert read_number("1,234", find_style(["1,234"], decimal="point")) == (1234.0, "")
    assert read_number("1.234", find_style(["1.234"], decimal="comma")) == (1234.0, "")


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("NaN", "the number is not finite: NaN"),
        ("-inf", "the number is not finite: -inf"),
        (math.nan, "the number is not finite: nan"),
        (math.inf, "the number is not finite: inf"),
        (10**400, "the number is not finite"),
        (Decimal("NaN"), "the number is not finite: NaN"),
        (Decimal("sNaN"), "the number is not finite: sNaN"),
        ("1e999", "the number is too large"),
        ("", "no number"),
        (None, "no number"),
        (True, "wanted a number, found True"),
        ("four", "wanted a number, found 'four'"),
        ("3 apples", "wanted a number, found '3 apples'"),
        ([1.0], r"wanted a number, found \[1.0\]"),
        ("1.2.3", "wanted a number"),
        ("3,5", "wanted a number"),
    ],
)
def test_what_is_no_finite_number_is_a_fault(cell, fault):
    value, found = read_number(cell, NumberStyle())
    assert value == 0.0
    assert re.match(fault, found), found


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e300, -2.0, 5e-324, 1234567.875, 2.0**53, -0.5])
def test_what_is_written_is_read_again(value):
    assert read_number(write_number(value), NumberStyle())[0] == value
    assert write_number(4.0) == "4"
