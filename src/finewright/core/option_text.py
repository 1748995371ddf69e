"""Defaults and choices of options as a person reads them."""

from typing import Any, Literal, get_args, get_origin


def show_default(default: Any) -> str:
    """Return a default as a user would type it."""
    if default is None:
        return "auto"
    if isinstance(default, bool):
        return str(default).lower()
    if default == "\n":
        return "a line break"
    return ",".join(default) or "none" if isinstance(default, tuple) else str(default)


def list_choices(annotation: Any) -> str:
    """Return the values of an option that takes one of a few, for its help; empty for others."""
    return f": {', '.join(map(str, get_args(annotation)))}" if get_origin(annotation) is Literal else ""


OUT_OF_RANGE = ("greater_than_equal", "less_than_equal", "finite_number")
"""Pydantic's types of the fault that a number is outside its range."""


def describe_range(low: float | None, high: float | None) -> str:
    """Return the range that a number must be in, in words; an end that is None is open."""
    ends = ["" if end is None else f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (low, high)]
    if all(ends):
        return f"wanted a number from {ends[0]} to {ends[1]}"
    if any(ends):
        return f"wanted a number of at {'least' if ends[0] else 'most'} {ends[0] or ends[1]}"
    return "wanted a number that is not infinite"
