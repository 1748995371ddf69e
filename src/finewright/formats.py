"""One file → records: CSV, TSV, JSON lines, JSON, Parquet, and gzip of the text ones. Errors name the line."""

import csv
import gzip
import io
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright.errors import ExitCode, UserError

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
MOST_ERRORS = 20
MOST_BYTES = 4 << 30
"""Largest text after unpacking; what is larger is taken for a mistake or a gzip bomb."""
_LONGEST_FIELD = 64 << 20
_MAGIC = {
    b"PK\x03\x04": "a zip archive (xlsx is one)",
    b"\x89PNG": "a PNG picture",
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Office file",
}


@dataclass(frozen=True)
class Record:
    """One row as it stands in the file: `where` is `file:line` (for Parquet `file:row`)."""

    where: str
    values: dict[str, Any]


def suffix(path: Path) -> str:
    """`.csv` for `a.csv` and `a.csv.gz`; empty when it is none that can be read."""
    name = path.name.lower().removesuffix(".gz")
    found = Path(name).suffix
    return found if found in SUFFIXES else ""


def read(path: Path) -> tuple[list[Record], list[str]]:
    """All rows of a file and notes for the user; what cannot be read is one `UserError` with up to 20 places."""
    _require_regular(path)
    kind = suffix(path)
    if not kind:
        raise bad(f"cannot tell the format of {path.name}", path, f"name it with one of {', '.join(SUFFIXES)}, or those with .gz")
    if kind == ".parquet":
        return _read_parquet(path), []
    text = read_text(path)
    readers: dict[str, Callable[[str, Path], tuple[list[Record], list[str]]]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".json": _read_json,
    }
    return readers.get(kind, _read_lines)(text, path)


def bad(what: str, where: Path | str, fix: str) -> UserError:
    """A fault in the data."""
    return UserError(what, where=str(where), fix=fix, code=ExitCode.BAD_DATA)


def together(faults: list[str], fix: str, *, total: int = 0) -> UserError:
    """Several faults, each already naming its place, as one error."""
    shown, total = faults[:MOST_ERRORS], max(total, len(faults))
    rest = f"\n… and {total - len(shown)} more" if total > len(shown) else ""
    return UserError("\n".join(shown) + rest, fix=fix, code=ExitCode.BAD_DATA)


def read_text(path: Path) -> str:
    """The text of a file, unpacked and decoded: UTF-8, or UTF-16 with its mark."""
    raw = _unpack(path)
    for magic, name in _MAGIC.items():
        if raw.startswith(magic):
            raise bad(f"this is {name}, not text", path, "save the table as CSV or JSON lines, or give the file its right name")
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        what = f"byte 0x{raw[error.start]:02X} at column {column} is not UTF-8; it looks like Windows-1252"
        raise bad(what, f"{path.name}:{line}", f"iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}") from None
    if "\x00" in text:
        raise bad("a NUL character", f"{path.name}:{text[: text.index(chr(0))].count(chr(10)) + 1}", "remove it; text has none")
    return text


def _require_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise bad(f"cannot be opened: {error.strerror}", path, "check the path") from None
    if not stat.S_ISREG(mode):
        raise bad("not a regular file", path, "give a file with rows")


def _unpack(path: Path) -> bytes:
    try:
        with open(path, "rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b" and path.name.lower().endswith(".gz")
        with gzip.open(path, "rb") if packed else open(path, "rb") as handle:
            raw = handle.read(MOST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise bad(f"cannot be read: {getattr(error, 'strerror', None) or error}", path, "check the file") from None
    if len(raw) > MOST_BYTES:
        raise bad(f"more than {MOST_BYTES >> 30} GiB of text", path, "split the file, or use Parquet")
    return raw


def _read_csv(text: str, path: Path) -> tuple[list[Record], list[str]]:
    delimiter = _delimiter(text, path)
    notes = [f"{path.name}: columns are parted by {delimiter!r}"] if path.name.lower().startswith(".csv") else []
    if suffix(path) == ".csv" and delimiter != ",":
        notes = [f"{path.name}: columns are parted by {delimiter!r}"]
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = _csv_rows(reader, text, path)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    if not header:
        raise bad("the file is empty", path, "it wants a header line with the names of the columns, then rows")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise bad(f"two columns are named {twice[0]!r}", f"{path.name}:1", "give every column a name of its own")
    records, faults = [], []
    for line, row in rows:
        if len(row) == len(header):
            records.append(Record(f"{path.name}:{line}", dict(zip(header, row, strict=True))))
        elif row:
            faults.append(f"{path.name}:{line}: {len(row)} fields, the header has {len(header)}")
    if faults:
        raise together(faults, f"quote fields that contain {delimiter!r}")
    return records, notes


def _csv_rows(reader: Any, text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(first line, fields) of each row."""
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote that opens here is never closed" if "unexpected end of data" in str(error) else str(error)
        raise bad(reason, f"{path.name}:{line}", 'inside a quoted field a quote is written ""') from None


def _delimiter(text: str, path: Path) -> str:
    if suffix(path) == ".tsv":
        return "\t"
    header = text.split("\n", 1)[0]
    counts = {candidate: header.count(candidate) for candidate in (",", ";", "\t", "|")}
    best = max(counts, key=lambda candidate: counts[candidate])
    return best if counts[best] else ","


def _read_jsonl(text: str, path: Path) -> tuple[list[Record], list[str]]:
    lines = text.split("\n")
    records, faults = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        value, fault = _parse(line)
        if fault and not any(rest.strip() for rest in lines[number:]) and not text.endswith("\n"):
            fault += "; the file looks cut off"
        if not fault and not isinstance(value, dict):
            fault = f'wanted an object such as {{"text": …, "label": …}}, found {type(value).__name__}'
        if fault:
            faults.append(f"{path.name}:{number}: {fault}")
        else:
            records.append(Record(f"{path.name}:{number}", value))
    if faults:
        raise together(faults, "one object a line; an array goes into a .json file")
    return records, []


def _read_json(text: str, path: Path) -> tuple[list[Record], list[str]]:
    value, fault = _parse(text)
    if fault:
        raise bad(fault, path, "an array of objects")
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if not isinstance(value, list):
        raise bad(f"wanted an array of objects, found {type(value).__name__}", path, "one object a line goes into a .jsonl file")
    faults = [
        f"{path.name}: item {index + 1}: wanted an object" for index, item in enumerate(value) if not isinstance(item, dict)
    ]
    if faults:
        raise together(faults, "an array of objects")
    return [Record(f"{path.name}: item {index + 1}", item) for index, item in enumerate(value)], []


def _parse(text: str) -> tuple[Any, str]:
    """(value, fault)."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant), ""
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        return None, f"{error.msg} at {place}"
    except (ValueError, RecursionError) as error:
        return None, "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _read_lines(text: str, path: Path) -> tuple[list[Record], list[str]]:
    lines = enumerate(text.splitlines(), start=1)
    return [Record(f"{path.name}:{number}", {"text": line}) for number, line in lines if line.strip()], []


def _read_parquet(path: Path) -> list[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise bad(f"not readable as Parquet: {str(error).splitlines()[0]}", path, "check the file") from None
    return [Record(f"{path.name}: row {index + 1}", row) for index, row in enumerate(rows)]
