"""JSON lines and JSON; errors name the line."""

import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from finewright.data.readers.base import Record, combine_faults, plain_suffix
from finewright.data.readers.text import bad_file, parse_lines

SUFFIXES = (".jsonl", ".json")


def read(path: Path, wanted: Collection[str]) -> tuple[list[Record], list[str]]:
    """Return all rows and notes; every key is read."""
    return parse_lines(path, _read_lines if plain_suffix(path) == ".jsonl" else _read_array)


def _read_lines(lines: Iterator[str], path: Path) -> tuple[list[Record], list[str]]:
    records, faults = [], []
    for number, line, is_cut in _full_lines(lines):
        if not records and not faults and line.lstrip().startswith("["):
            raise bad_file(
                "this is one JSON array, not one object a line", f"{path.name}:1", "give the file a name that ends in .json"
            )
        value, fault, _ = _parse(line)
        if fault and is_cut:
            fault += "; the file looks cut off"
        if not fault and not isinstance(value, dict):
            fault = f'wanted an object such as {{"text": …, "label": …}}, found {type(value).__name__}'
        if fault:
            faults.append(f"{path.name}:{number}: {fault}")
        else:
            records.append(Record(f"{path.name}:{number}", value))
    if faults:
        raise combine_faults(faults, "one object a line; objects over several lines go into an array in a .json file")
    return records, []


def _full_lines(lines: Iterator[str]) -> Iterator[tuple[int, str, bool]]:
    """Yield (number, line, whether the file ends inside it) of the lines that are not blank."""
    last, full, line = 0, "", ""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            if last:
                yield last, full, False
            last, full = number, line.removesuffix("\n")
    if last:
        yield last, full.rstrip(), not line.endswith("\n")


def _read_array(lines: Iterator[str], path: Path) -> tuple[list[Record], list[str]]:
    text = "".join(lines)
    start = re.match(r'\s*(\{\s*"data"\s*:\s*)?\[\s*', text)
    if not start:
        value, fault, _ = _parse(text)
        what = fault or f"wanted an array of objects, found {type(value).__name__}"
        raise bad_file(what, path, "an array of objects; one object a line goes into a .jsonl file")
    close = re.compile(r"\s*\]\s*\}\s*\Z" if start[1] else r"\s*\]\s*\Z")
    items = list(_items(text, start.end(), path, close=close))
    faults = [f"{where}: wanted an object, found {type(item).__name__}" for where, item in items if not isinstance(item, dict)]
    if faults:
        raise combine_faults(faults, 'an array of objects such as {"text": …, "label": …}')
    return [Record(where, item) for where, item in items], []


def _items(text: str, position: int, path: Path, *, close: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
    """Yield (`file:line`, item) of each item of an array whose first item begins at `position`."""
    comma = re.compile(r"\s*,\s*")
    line, counted = 1, 0
    closed = close.match(text, position)
    while not closed:
        line, counted = line + text.count("\n", counted, position), position
        value, fault, position = _parse(text, at=position)
        closed, parted = close.match(text, position), comma.match(text, position)
        if not fault and not closed and not parted:
            fault = "wanted a comma or the end of the array after this item"
        if fault:
            fault += "" if text.rstrip().endswith(("]", "}")) else "; the file looks cut off"
            raise bad_file(fault, f"{path.name}:{line}", "an array of objects")
        position = parted.end() if parted else position
        yield f"{path.name}:{line}", value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = {sys.intern(name): value for name, value in pairs}  # one name for the rows of a whole file
    if len(value) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {name!r} occurs twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _parse(text: str, *, at: int | None = None) -> tuple[Any, str, int]:
    """Return (value, fault, end) of the whole text, or of the value that begins at the position `at`."""
    try:
        value, end = (_DECODER.decode(text), len(text)) if at is None else _DECODER.raw_decode(text, at)
        return value, "", end
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        return None, f"{error.msg} at {place}", at or 0
    except (ValueError, RecursionError) as error:
        return None, "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0], at or 0
