"""JSON lines and JSON: rows, columns or splits, whatever the name says; errors name the line."""

import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from finewright.data.readers.base import (
    SPLIT_NAMES,
    TEXT_NAMES,
    FileTable,
    InputFile,
    ReadOptions,
    Record,
    combine_faults,
    find_columns,
)
from finewright.data.readers.text import Decoding, bad_file, parse_lines

SUFFIXES = (".jsonl", ".json", ".ndjson")
_LINES = (".jsonl", ".ndjson")
_MESSAGES = {"messages", "conversations", "conversation"}
"""Keys whose lists are a row, not rows."""
_WANTED = "an array of objects, or one object a line"


def read(file: InputFile, options: ReadOptions) -> FileTable:
    """Return all rows; every key is read."""
    decoding = Decoding(options.encoding)
    notes: list[str] = []

    def parse(lines: Iterator[str], file: InputFile) -> tuple[dict[str, list[Record]], bool]:
        head: list[str] = []
        while sum(bool(line.strip()) for line in head) < 2 and (line := next(lines, "")):
            head.append(line)
        lines = itertools.chain(head, lines)
        full = [line for line in head if line.strip()]
        if _is_lines(full, suffix=file.suffix):
            return {"": _read_lines(lines, file, notes)}, True
        return _read_whole("".join(lines), file), False

    splits, by_line = parse_lines(file, parse, decoding)
    records = [record for split in splits.values() for record in split]
    suffix = ".jsonl" if by_line else ".json"
    if (suffix == ".json") == (file.suffix in _LINES):
        notes.append(f"{file.name}: read as {'one object a line' if by_line else 'one JSON value'}, by its content")
    columns = find_columns(records)
    found = decoding.file_format(suffix)
    return FileTable(records, columns, found, decoding.notes + notes, columns, splits={} if "" in splits else splits)


def _is_lines(full: list[str], *, suffix: str) -> bool:
    """Return whether these first two lines that are not blank begin JSON lines, not one JSON value."""
    if not full:
        return suffix in _LINES
    first, alone = full[0].strip(), len(full) == 1
    value, fault, _ = _parse(first)
    if not alone and first == "{" and full[1].lstrip().startswith('"'):
        return False  # an object over several lines
    if suffix in _LINES:
        return not (alone and _holds_rows(value)) and (not first.startswith("[") or (not alone and not fault))
    return not alone and first.startswith("{") and (not fault or first.rstrip(",").endswith("}")) and full[1].lstrip()[:1] == "{"


def _read_lines(lines: Iterator[str], file: InputFile, notes: list[str]) -> list[Record]:
    records, faults, num_commas = [], [], 0
    for number, line, is_cut in _full_lines(lines):
        value, fault, _ = _parse(line)
        if fault and line.rstrip().endswith(","):
            value, other, _ = _parse(line.rstrip()[:-1])
            num_commas += not other
            fault = fault if other else ""
        if fault and is_cut:
            fault += "; the file looks cut off"
        if not fault and not isinstance(value, dict):
            fault = f'wanted an object such as {{"text": …, "label": …}}, found {type(value).__name__}'
        if fault:
            faults.append(f"{file.name}:{number}: {fault}")
        else:
            records.append(Record(f"{file.name}:{number}", value))
    if faults:
        raise combine_faults(faults, "one object a line; objects over several lines go into an array in a .json file")
    if num_commas:
        notes.append(f"{file.name}: {num_commas:,} lines end with a comma, which was left out")
    return records


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


def _read_whole(text: str, file: InputFile) -> dict[str, list[Record]]:
    """Return the rows of each split; the split is nameless if there is one table."""
    array = re.match(r'\s*(\{\s*"[^"\\]*"\s*:\s*)?\[\s*(?=[{\]])' if text.lstrip()[:1] == "{" else r"\s*()\[\s*", text)
    if array:
        try:
            return {"": _read_array(text, array, file)}
        except Exception as error:
            if not array[1] or _parse(text)[1]:
                raise error from None
    value, fault, _ = _parse(text)
    found = None if fault else _unwrap(value)
    if found is None:
        what = fault or _describe(value)
        raise bad_file(what, file.path, f"{_WANTED}; of columns, one list each")
    splits = found if isinstance(found, dict) else {"": found}
    name = f"{file.name}: "
    return {
        split: [Record(f"{name}{split and f'{split} '}row {number}", row) for number, row in enumerate(rows, start=1)]
        for split, rows in splits.items()
    }


def _describe(value: Any) -> str:
    lists = {name: len(column) for name, column in value.items() if isinstance(column, list)} if isinstance(value, dict) else {}
    if len(set(lists.values())) > 1:
        return f"wanted columns of one length, found {', '.join(f'{name}: {length:,}' for name, length in lists.items())}"
    return f"wanted an array of objects, found {type(value).__name__}"


def _holds_rows(value: Any) -> bool:
    """Return whether a value is not a row, but has rows in it."""
    found = _unwrap(value)
    return found is not None and not (isinstance(found, list) and found[0] is value)


def _unwrap(value: Any) -> dict[str, list[dict[str, Any]]] | list[dict[str, Any]] | None:
    """Return the rows, or the rows of each split, that a JSON value holds in one of the usual shapes."""
    if not isinstance(value, dict) or not value:
        return None
    splits = _splits(value)
    if splits:
        return splits
    lists = {
        name: one for name, one in value.items() if isinstance(one, list) and one and all(isinstance(row, dict) for row in one)
    }
    has_text = any(isinstance(value.get(name), str) for name in TEXT_NAMES)  # the list is that of labelled pieces of it
    if len(lists) == 1 and not lists.keys() & _MESSAGES and not has_text:
        return next(iter(lists.values()))
    if set(value) >= {"columns", "data"} and all(isinstance(row, list) for row in value["data"]):  # pandas, orient="split"
        return [dict(zip(value["columns"], row, strict=False)) for row in value["data"]]
    return _from_columns(value) or ([value] if any(isinstance(one, str) for one in value.values()) else None)


def _splits(value: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split of `{"train": …, "test": …}`."""
    found = {}
    for name, names in SPLIT_NAMES.items():
        inside = next((one for key, one in value.items() if key.casefold() in names and isinstance(one, list | dict)), None)
        rows = _unwrap(inside) if isinstance(inside, dict) else inside
        if rows and isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            found[name] = rows
    return found if "train" in found else {}


def _from_columns(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `{"text": […], "label": […]}`, or of what pandas writes: `{"text": {"0": …}, "label": {"0": …}}`."""
    columns = list(value.values())
    if isinstance(value.get("tokens"), list) and all(isinstance(cell, str) for cell in value["tokens"]):
        return []  # the words of one row, not a column of rows
    if (
        all(isinstance(one, list) and not all(isinstance(cell, dict) for cell in one) for one in columns)
        and len({len(one) for one in columns}) == 1
    ):
        rows = zip(*columns, strict=True)
    elif all(isinstance(one, dict) for one in columns) and len({tuple(one) for one in columns}) == 1:
        rows = zip(*(one.values() for one in columns), strict=True)
    else:
        return []
    return [dict(zip(value, row, strict=True)) for row in rows]


def _read_array(text: str, start: re.Match[str], file: InputFile) -> list[Record]:
    close = re.compile(r"\s*\]\s*\}\s*\Z" if start[1] else r"\s*\]\s*\Z")
    items = _number_if_unclear(list(_items(text, start.end(), file, close=close)), file)
    faults = [f"{where}: wanted an object, found {type(item).__name__}" for where, item in items if not isinstance(item, dict)]
    if faults:
        raise combine_faults(faults, 'an array of objects such as {"text": …, "label": …}')
    return [Record(where, item) for where, item in items]


def _number_if_unclear(items: list[tuple[str, Any]], file: InputFile) -> list[tuple[str, Any]]:
    """Name the rows by their numbers if several begin on one line."""
    if len({where for where, _ in items}) == len(items):
        return items
    return [(f"{file.name}: row {number}", item) for number, (_, item) in enumerate(items, start=1)]


def _items(text: str, position: int, file: InputFile, *, close: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
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
            raise bad_file(fault, f"{file.name}:{line}", _WANTED)
        position = parted.end() if parted else position
        yield f"{file.name}:{line}", value


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
