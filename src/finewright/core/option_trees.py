"""Options as nested dicts: read from TOML, set by dotted names, put over one another."""

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finewright.core.errors import UserError


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file as nested dicts. Raise `UserError` with the line of a broken file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such config file", where=str(path), fix="give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(
            f"not a readable TOML file: {error}", where=str(path), fix="correct that line; `key = value`, text in quotes"
        ) from None


def first_leaf(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that lead to the first value of a nested dict."""
    for key, value in itertools.islice(tree.items(), 1):
        yield key
        if isinstance(value, Mapping):
            yield from first_leaf(value)


def read_value(text: str) -> Any:
    """Return a value in TOML; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def set_option(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Put `value` at a dotted key of a nested dict."""
    *groups, leaf = dotted.split(".")
    for group in groups:
        tree = tree.setdefault(group, {})
        if not isinstance(tree, dict):
            raise UserError(f"{group!r} is a value, not a group of options", where=dotted)
    below = tree.get(leaf)
    if isinstance(below, Mapping) != isinstance(value, Mapping) and leaf in tree:
        raise UserError(f"{leaf!r} is given both as a value and as a group of options", where=dotted)
    tree[leaf] = merge_options(below or {}, value) if isinstance(value, Mapping) else value


def merge_options(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` in place of its own, group by group."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge_options(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
