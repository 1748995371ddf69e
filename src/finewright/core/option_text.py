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
