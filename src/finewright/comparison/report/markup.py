"""HTML and SVG. Every text is escaped, unless this module made it."""

from collections.abc import Iterable
from html import escape
from typing import Any

_EMPTY = {"meta", "br", "hr", "img", "circle", "rect", "line", "path", "polygon", "polyline"}
"""Elements without content."""


class Safe(str):
    """Text that is HTML already. Only `tag`, `join` and files of this package may create it."""


def tag(name: str, *children: Any, **attributes: Any) -> Safe:
    """Build an element. Children that are not `Safe` are escaped. `class_` becomes `class`, `stroke_width` `stroke-width`.

    Attributes that are None are left out. Numbers are rounded to two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_format_attribute(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Safe(f"<{name}{written}/>")
    return Safe(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Any], *, between: str = "") -> Safe:
    """Join pieces. Those that are None are left out."""
    pieces = [child if isinstance(child, Safe) else escape(str(child)) for child in children if child is not None]
    return Safe(escape(between).join(pieces))


def _format_attribute(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
