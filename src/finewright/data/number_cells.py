"""Numbers that are written as text: which sign begins the decimals, what is percent, and what is no number."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal as ExactNumber
from typing import Any, Literal

from finewright.core.errors import ExitCode, UserError
from finewright.data.readers.base import ShownCell

Decimal = Literal["point", "comma"]
_POINT = re.compile(r"[+-]?([1-9]\d{0,2}(,\d{3})+(\.\d*)?|\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_COMMA = re.compile(r"[+-]?([1-9]\d{0,2}(\.\d{3})+(,\d*)?|\d+(,\d*)?|,\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_GROUPED_BY_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_SPACED = re.compile(r"(?<=\d)[ \u00a0\u202f'](?=\d{3}(?!\d))")
"""Spaces and apostrophes between groups of three digits."""
_NOT_FINITE = {"nan", "inf", "infinity", "+inf", "-inf", "+infinity", "-infinity"}
_LONGEST = 60
"""Characters of a number; a longer cell is text."""


@dataclass(frozen=True)
class NumberStyle:
    """How the numbers of a column are written. `percent`: all of them end in a percent sign."""

    decimal: Decimal = "point"
    percent: bool = False


def find_style(values: Iterable[Any], *, decimal: Literal["auto", "point", "comma"] = "auto", where: str = "") -> NumberStyle:
    """Return how the texts among these values write numbers; cells that are no number do not count.

    `decimal`: the sign if it is given. `where`: names the column in messages. Raise `UserError` if one row can only have decimal
    commas and another only decimal points, if "1,234" may be either, or if some rows are percent and others are not.
    """
    texts = [_plain(value) for value in values if isinstance(value, str) and not _has_number(value)]
    texts = [text for text in texts if text[0] and (_POINT.fullmatch(text[0]) or _COMMA.fullmatch(text[0]))]
    percent = {is_percent for _, is_percent in texts}
    if len(percent) == 2:
        one, other = (next(text for text, is_percent in texts if is_percent is wanted) for wanted in (True, False))
        what = f"some numbers are percent and others are not: {one!r} with and {other!r} without a percent sign"
        raise UserError(what, where=where, fix="write all of them in one unit", code=ExitCode.BAD_DATA)
    found = decimal if decimal != "auto" else _find_decimal([text for text, _ in texts], where=where)
    return NumberStyle(found, percent == {True})


def tells_style(values: Iterable[Any]) -> tuple[bool, bool]:
    """Return whether any text among these values tells which sign begins decimals, and whether any tells that it is percent or
    not: cells of whole numbers leave the first open, and those of a spreadsheet that are numbers leave both."""
    texts = [_plain(value)[0] for value in values if isinstance(value, str) and not _has_number(value)]
    texts = [text for text in texts if text and (_POINT.fullmatch(text) or _COMMA.fullmatch(text))]
    return any("," in text or "." in text for text in texts), bool(texts)


def read_number(value: Any, style: NumberStyle) -> tuple[float, str]:
    """Return (number, fault) of a cell. The number of a faulty cell is 0. Truth values are no numbers."""
    if isinstance(value, ShownCell):
        value = value.value
    if value is None or (isinstance(value, str) and not value.strip()):
        return 0.0, "no number"
    if isinstance(value, bool):
        return 0.0, f"wanted a number, found {value}"
    if isinstance(value, int | float | ExactNumber):
        return (float(value), "") if _is_finite(value) else (0.0, f"the number is not finite: {value}")
    if not isinstance(value, str):
        return 0.0, f"wanted a number, found {value!r:.40}"
    text, _ = _plain(value)
    if text.casefold() in _NOT_FINITE:
        return 0.0, f"the number is not finite: {value.strip()}"
    point = style.decimal == "point"
    if len(text) > _LONGEST or not (_POINT if point else _COMMA).fullmatch(text):
        return 0.0, f"wanted a number, found {value!r:.40}"
    number = float(text.replace(",", "") if point else text.replace(".", "").replace(",", "."))
    return (number, "") if math.isfinite(number) else (0.0, f"the number is too large: {value!r:.40}")


def write_number(value: float) -> str:
    """Return the shortest text that is read as this number again, without decimals where it is whole."""
    value = float(value)  # NumPy writes its own type
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _is_finite(value: float | ExactNumber) -> bool:
    try:
        return math.isfinite(float(value))
    except (OverflowError, ValueError):  # an integer of hundreds of digits, or a signalling NaN
        return False


def _has_number(value: str) -> bool:
    """Whether a spreadsheet's cell has a number besides the text that it shows."""
    return isinstance(value, ShownCell) and not isinstance(value.value, str)


def _plain(value: str) -> tuple[str, bool]:
    """Return (the number without percent sign, spaces and a typographic minus; whether it had a percent sign)."""
    text = value.strip().replace("\u2212", "-")
    is_percent = text.endswith("%")
    return _SPACED.sub("", text.removesuffix("%").strip()), is_percent


def _find_decimal(texts: Sequence[str], *, where: str) -> Decimal:
    """Return the sign that begins decimals in these numbers, of which each is one with commas or with points."""
    only_point = next((text for text in texts if not _COMMA.fullmatch(text)), None)
    only_comma = next((text for text in texts if not _POINT.fullmatch(text)), None)
    fix = "--set data.decimal=comma or data.decimal=point says which sign begins the decimals"
    if only_point is not None and only_comma is not None:
        what = f"{only_point!r} has a decimal point and {only_comma!r} a decimal comma"
        raise UserError(what, where=where, fix="write all numbers alike", code=ExitCode.BAD_DATA)
    if only_point is not None or only_comma is not None:
        return "point" if only_comma is None else "comma"
    unclear = next((text for text in texts if _GROUPED_BY_COMMA.fullmatch(text)), None)
    if unclear is not None:
        what = f"{unclear!r} may be {float(unclear.replace(',', '')):g} or {float(unclear.replace(',', '.', 1)):g}"
        raise UserError(what, where=where, fix=fix, code=ExitCode.BAD_DATA)
    return "point"
