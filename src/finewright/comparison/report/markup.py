"""HTML and SVG in which every text is escaped, unless this room itself made it."""

from collections.abc import Iterable
from html import escape
from typing import Any

_EMPTY = {"meta", "br", "hr", "img", "circle", "rect", "line", "path", "polygon", "polyline"}
"""Elements that have nothing inside."""


class Safe(str):
    """Text that is already HTML. Only `tag`, `join` and files of this package make it."""


def tag(name: str, *children: Any, **attributes: Any) -> Safe:
    """An element. Children that are not `Safe` are escaped; `class_` is `class`, `stroke_width` is `stroke-width`.

    Attributes that are None are left out, numbers are cut to two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_shown(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Safe(f"<{name}{written}/>")
    return Safe(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Any], *, between: str = "") -> Safe:
    """Several pieces one after the other; what is None is left out."""
    pieces = [child if isinstance(child, Safe) else escape(str(child)) for child in children if child is not None]
    return Safe(escape(between).join(pieces))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
