"""Counts, bytes, seconds and FLOPs as text."""

import math
import re
from typing import TypeVar

from finewright.core.errors import UserError

T = TypeVar("T")

_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MOST_BYTES = 1e18
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def parse_size(text: str) -> int:
    """Return 8,000,000,000 for `8GB`, 8,589,934,592 for `8GiB`. Raise `UserError` without a known unit."""
    found = _SIZE.fullmatch(text)
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    if found and found[2].lower() in units and 1 <= (size := float(found[1]) * units[found[2].lower()]) < _MOST_BYTES:
        return round(size)
    raise UserError(
        f"wanted a size above zero with its unit, found {text[:40]!r}",
        where="budget",
        fix=f"for instance 8GB; units: {', '.join(_UNITS)}",
    )


def counted(number: int, one: str, many: str = "") -> str:
    """Return `1 row`, `2 rows`. `many`: the words for any other number, where these are not `one` with an s, as in `rows are`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def format_bytes(count: float, *, at_least: bool = False) -> str:
    """Return bytes as `7.95 GB` or `312 MB`. `at_least`: rounded up, and in the form that `parse_size` reads."""
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)):
        value = count / size
        digits = 0 if value >= 100 or unit == "kB" else 2 if value < 10 else 1
        value = math.ceil(value * 10**digits) / 10**digits if at_least else round(value, digits)
        if abs(value) < 1000 or unit == "TB":
            return f"{value:{'' if at_least else ','}.{digits}f} {unit}"
    raise AssertionError("every count has a unit")


def format_bytes_exactly(count: float) -> str:
    """Return bytes in the form that `parse_size` reads, exact to a byte."""
    return f"{count / 1e3:.3f}kB"


def format_flops(count: float) -> str:
    """Return floating-point operations with one unit: `812 G`, `3.1 P`."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12)):
        if count >= size:
            return f"{count / size:,.0f} {unit}" if count >= 100 * size else f"{count / size:.1f} {unit}"
    return f"{count / 1e9:.0f} G"


def format_seconds(seconds: float) -> str:
    """Return a time span with one unit: `40 s`, `12 min`, `3.1 h`, `12 days`."""
    for unit, size in (("days", 86_400 * 2), ("h", 3600 * 2), ("min", 120)):
        if seconds >= size:
            return f"{seconds / (size / 2):,.1f} {unit}" if seconds < 10 * size else f"{seconds / (size / 2):,.0f} {unit}"
    return f"{seconds:.0f} s"
