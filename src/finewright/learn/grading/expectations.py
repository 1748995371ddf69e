"""Expectations of an exercise. Only the standard library is needed, and no expectation raises."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One checked claim. `wrong`: the known mistake that its failure reveals, if any."""

    what: str
    ok: bool
    expected: str
    found: str
    wrong: str = ""


class Expect:
    """Collects claims. Each method returns whether the claim holds, so that a check can stop early.

    `wrong`: the known mistake that a failure reveals: one name, or a name for each value that may be found.
    """

    def __init__(self) -> None:
        self.claims: list[Check] = []
        self.notes: list[str] = []

    def true(self, what: str, ok: Any, *, expected: str, found: str, wrong: str = "") -> bool:
        """Claim that `ok` is true; `expected` and `found` describe it."""
        held = bool(ok)
        found = "None: is a `return` missing?" if found == "None" and not held else found
        self.claims.append(Check(what, held, expected, found, "" if held else wrong))
        return held

    def equal(self, what: str, found: Any, wanted: Any, *, wrong: str | Mapping[Any, str] = "") -> bool:
        """Claim an exact value: a count, a shape, a name."""
        found, wanted = _plain(found), _plain(wanted)
        held = isinstance(found, bool) == isinstance(wanted, bool) and type(found == wanted) is bool and found == wanted
        return self.true(what, held, expected=show(wanted), found=show(found), wrong=_name(wrong, found))

    def near(
        self, what: str, found: Any, wanted: Any, *, tolerance: float, wrong: str | Mapping[Any, str] = "", unit: str = ""
    ) -> bool:
        """Claim a number or a tensor within `tolerance`; for a number, keys of `wrong` match within `tolerance` too."""
        found, wanted = _plain(found), _plain(wanted)
        if isinstance(found, bool) or not _comparable(found, wanted):
            return self.true(what, False, expected=show(wanted, unit), found=show(found, unit), wrong=_only_name(wrong))
        if hasattr(wanted, "shape"):
            difference = float((found - wanted).abs().max()) if wanted.numel() else 0.0
            close = difference <= tolerance
            seen = f"differs by {difference:.2g}" if not close else "equal"
            return self.true(what, close, expected=f"equal within {tolerance:g}", found=seen, wrong=_only_name(wrong))
        held = abs(found - wanted) <= tolerance
        named = wrong if isinstance(wrong, str) else next((n for v, n in wrong.items() if abs(found - v) <= tolerance), "")
        return self.true(what, held, expected=show(wanted, unit), found=show(found, unit), wrong=named)

    def note(self, sentence: str) -> None:
        """Add a note that is shown but not graded."""
        self.notes.append(sentence)


def show(value: Any, unit: str = "") -> str:
    """Return a value as text."""
    tail = f" {unit}" if unit else ""
    if value is None:
        return "None"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}{tail}"
    if isinstance(value, float):
        return f"{value:,.0f}{tail}" if abs(value) >= 1e6 else f"{value:.6g}{tail}"
    if isinstance(value, tuple | list) and len(value) <= 16:
        return f"({', '.join(show(one) for one in value)})"
    if hasattr(value, "shape"):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    return (value if isinstance(value, str) else f"{type(value).__name__} {value!r}")[:200]


def _plain(value: Any) -> Any:
    """Return a scalar tensor as a number, a list or shape as a tuple."""
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _comparable(found: Any, wanted: Any) -> bool:
    if hasattr(wanted, "shape"):
        return hasattr(found, "shape") and hasattr(found, "abs") and tuple(found.shape) == tuple(wanted.shape)
    return isinstance(found, int | float) and not math.isnan(found)


def _name(wrong: str | Mapping[Any, str], found: Any) -> str:
    if isinstance(wrong, str):
        return wrong
    try:
        return wrong.get(found, "")
    except TypeError:  # unhashable, so it is no known value
        return ""


def _only_name(wrong: str | Mapping[Any, str]) -> str:
    return wrong if isinstance(wrong, str) else ""
