"""One file → records: CSV, TSV, JSON lines, JSON, Parquet, and gzip of the text ones. Errors name the line."""

import csv
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright import textfile
from finewright.errors import ExitCode, UserError
from finewright.textfile import bad

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt", ".parquet")
MOST_ERRORS = 20
_MOST_QUOTED = 5
"""For so many faulty rows of several lines the quote to blame is looked for: each reads the file again from its start."""
_LONGEST_FIELD = 64 << 20
_LONG_FIELD_LINES = 20
"""A quoted field of more lines is looked at: a long text, or rows that a stray quote swallowed?"""
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it stands in the file: `where` is `file:line` (for Parquet `file: row N`)."""

    where: str
    values: dict[str, Any]


def suffix(path: Path) -> str:
    """`.csv` for `a.csv` and `a.csv.gz`; empty when it is none that can be read."""
    name = path.name.lower().removesuffix(".gz")
    found = Path(name).suffix
    return found if found in SUFFIXES else ""


def read(path: Path, *, wanted: Collection[str] = ()) -> tuple[list[Record], list[str]]:
    """All rows of a file and notes for the user; what cannot be read is one `UserError` with up to 20 places.

    `wanted`: columns that are enough where they all are there; a format kept by columns then leaves the others out.
    """
    textfile.require_regular(path)
    kind = suffix(path)
    if kind == ".parquet":
        return _read_parquet(path, wanted=wanted), []
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".json": _read_json}
    if kind not in readers:
        what = "a .txt file has texts, no labels" if kind else f"cannot tell the format of {path.name}"
        raise bad(what, path, f"name a table with one of {', '.join((*readers, '.parquet'))}, or a text one of them with .gz")
    lines = textfile.lines(path)
    try:
        return readers[kind](lines, path)
    except UserError as error:
        fault = error
    textfile.exhaust(lines)  # a fault in the bytes is told before one in the table, wherever it stands
    raise fault


def together(faults: list[str], fix: str) -> UserError:
    """Several faults, each already naming its place, as one error."""
    rest = f"\n… and {len(faults) - MOST_ERRORS:,} more, {len(faults):,} in all" if len(faults) > MOST_ERRORS else ""
    return UserError("\n".join(faults[:MOST_ERRORS]) + rest, fix=fix, code=ExitCode.BAD_DATA)


def _read_csv(lines: Iterator[str], path: Path) -> tuple[list[Record], list[str]]:
    delimiter, lines = _delimiter(textfile.parted(lines), path)
    header: list[str] = []
    records, faults, num_quoted = [], [], 0
    for first, last, row, fault in _csv_rows(lines, delimiter):
        if row and not header:
            header = _header(row, f"{path.name}:{first}")
            continue
        if row and len(row) != len(header):
            fault = f"{len(row)} fields, the header has {len(header)}"
        elif last - first > _LONG_FIELD_LINES and _swallows_rows(row, delimiter):
            fault = "the lines inside look like rows"
        if fault:
            line, quote = first, ""
            if last > first and num_quoted < _MOST_QUOTED:
                num_quoted += 1
                line, quote = _quote(path, delimiter, first, last)
            faults.append(f"{path.name}:{line}: {quote or fault}{f'; {fault}' if quote and row else ''}")
        elif row:
            records.append(Record(f"{path.name}:{first}", dict(zip(header, row, strict=True))))
    if faults:
        raise together(faults, f'quote a field with {delimiter!r} inside; in a quoted field a quote is written ""')
    if not header:
        raise bad("the file is empty", path, "it wants a header line with the names of the columns, then rows")
    return records, [f"{path.name}: columns are parted by {delimiter!r}"] if suffix(path) == ".csv" and delimiter != "," else []


def _csv_rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, int, list[str], str]]:
    """(first line, last line, fields, fault) of each row; a fault is the end."""
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, reader.line_num, row, ""
            line = reader.line_num + 1
    except csv.Error as error:
        never = "unexpected end" in str(error)
        after = "text follows a closing quote" if "expected after" in str(error) else str(error)
        yield line, reader.line_num, [], "a quote that opens here is never closed" if never else after


def _header(row: list[str], where: str) -> list[str]:
    names = [name.strip() for name in row]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise bad(f"two columns are named {twice[0]!r}", where, "give every column a name of its own")
    return names


def _delimiter(lines: Iterator[str], path: Path) -> tuple[str, Iterator[str]]:
    """What parts the columns, and all lines again."""
    if suffix(path) == ".tsv":
        return "\t", lines
    first: list[str] = []
    for line in lines:
        first.append(line)
        if line.rstrip("\r\n"):
            break
    header = re.sub(r'"[^"]*"', "", "".join(first[-1:]))
    return max(",;\t|", key=header.count), itertools.chain(first, lines)


def _swallows_rows(row: list[str], delimiter: str) -> bool:
    """Whether the lines inside a field have as many columns as the table, which prose has not."""
    for lines in (field.split("\n")[1:-1] for field in row if len(row) > 1):
        if len(lines) >= _LONG_FIELD_LINES and sum(line.count(delimiter) == len(row) - 1 for line in lines) > 0.9 * len(lines):
            return True
    return False


def _quote(path: Path, delimiter: str, first: int, last: int) -> tuple[int, str]:
    """(line, what is known) of the quoted field to blame for a faulty row: the first broken one, or the longest."""
    row = "".join(itertools.islice(textfile.parted(textfile.lines(path)), first - 1, last))
    fields = list(re.finditer(rf'(?:^|{re.escape(delimiter)})("[^"]*(?:""[^"]*)*)("?)', row))
    broken = [field for field in fields if not field[2] or row[field.end() : field.end() + 1] not in ("", delimiter, "\r", "\n")]
    field = broken[0] if broken else max(fields, key=lambda found: len(found[1]), default=None)
    if field is None:
        return first, ""
    opens = first + len(_LINE_END.findall(row, 0, field.start(1)))
    closes = first + len(_LINE_END.findall(row, 0, field.end()))
    if not field[2]:
        return opens, "a quote that opens here is never closed"
    return opens, f"a quote that opens here closes in line {closes}{', and text follows it' if broken else ''}"


def _read_jsonl(lines: Iterator[str], path: Path) -> tuple[list[Record], list[str]]:
    records, faults = [], []
    for number, line, is_cut in _full_lines(lines):
        if not records and not faults and line.lstrip().startswith("["):
            raise bad(
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
        raise together(faults, "one object a line; objects over several lines go into an array in a .json file")
    return records, []


def _full_lines(lines: Iterator[str]) -> Iterator[tuple[int, str, bool]]:
    """(number, line, whether the text breaks off there) of the lines that are not blank; the last has no space at its end."""
    last, full, line = 0, "", ""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            if last:
                yield last, full, False
            last, full = number, line.removesuffix("\n")
    if last:
        yield last, full.rstrip(), not line.endswith("\n")


def _read_json(lines: Iterator[str], path: Path) -> tuple[list[Record], list[str]]:
    text = "".join(lines)
    start = re.match(r'\s*(\{\s*"data"\s*:\s*)?\[\s*', text)
    if not start:
        value, fault, _ = _parse(text)
        what = fault or f"wanted an array of objects, found {type(value).__name__}"
        raise bad(what, path, "an array of objects; one object a line goes into a .jsonl file")
    close = re.compile(r"\s*\]\s*\}\s*\Z" if start[1] else r"\s*\]\s*\Z")
    items = list(_items(text, start.end(), path, close=close))
    faults = [f"{where}: wanted an object, found {type(item).__name__}" for where, item in items if not isinstance(item, dict)]
    if faults:
        raise together(faults, 'an array of objects such as {"text": …, "label": …}')
    return [Record(where, item) for where, item in items], []


def _items(text: str, position: int, path: Path, *, close: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
    """(`file:line`, item) of each item of an array whose first one begins at `position`."""
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
            raise bad(fault, f"{path.name}:{line}", "an array of objects")
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
    """(value, fault, end) of the whole text, or of the one value that begins `at` a place."""
    try:
        value, end = (_DECODER.decode(text), len(text)) if at is None else _DECODER.raw_decode(text, at)
        return value, "", end
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        return None, f"{error.msg} at {place}", at or 0
    except (ValueError, RecursionError) as error:
        return None, "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0], at or 0


def _read_parquet(path: Path, *, wanted: Collection[str]) -> list[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        given = file.schema_arrow.names
        names = _header(given, str(path))
        enough = [column for column, name in zip(given, names, strict=True) if name in wanted]
        table = file.read(columns=enough if enough and len(enough) == len({*wanted}) else None)
        is_time = pyarrow.types.is_temporal  # Python has no nanoseconds
        columns = [(column.cast("string") if is_time(column.type) else column).to_pylist() for column in table.columns]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise bad(f"not readable as Parquet: {str(error).splitlines()[0]}", path, "check the file") from None
    by_column = dict(zip(given, names, strict=True))
    named = [by_column[column] for column in table.column_names]
    rows = enumerate(zip(*columns, strict=True), start=1)
    return [Record(f"{path.name}: row {number}", dict(zip(named, row, strict=True))) for number, row in rows]
