"""CSV and TSV; errors name the line."""

import csv
import itertools
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from finewright.data.readers import text
from finewright.data.readers.base import Record, check_header, combine_faults, plain_suffix
from finewright.data.readers.text import bad_file

SUFFIXES = (".csv", ".tsv")
_MOST_QUOTED = 5
"""Faulty rows of several lines for which the quote to blame is searched: each search reads the file again from its start."""
_LONGEST_FIELD = 64 << 20
_LONG_FIELD_LINES = 20
"""A quoted field of more lines is checked: it may be a long text, or rows that a stray quote swallowed."""
_LINE_END = re.compile(r"\r\n|\r|\n")


def read(path: Path, wanted: Collection[str]) -> tuple[list[Record], list[str]]:
    """Return all rows and notes; every column is read."""
    return text.parse_lines(path, _parse)


def _parse(lines: Iterator[str], path: Path) -> tuple[list[Record], list[str]]:
    delimiter, lines = _delimiter(text.split_lines(lines), path)
    header: list[str] = []
    records, faults, num_quoted = [], [], 0
    for first, last, row, fault in _csv_rows(lines, delimiter):
        if row and not header:
            header = check_header(row, f"{path.name}:{first}")
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
        raise combine_faults(faults, f'quote a field with {delimiter!r} inside; in a quoted field a quote is written ""')
    if not header:
        raise bad_file("the file is empty", path, "it wants a header line with the names of the columns, then rows")
    return records, [f"{path.name}: columns are separated by {delimiter!r}"] if plain_suffix(
        path
    ) == ".csv" and delimiter != "," else []


def _csv_rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, int, list[str], str]]:
    """Yield (first line, last line, fields, fault) of each row; a fault ends the iteration."""
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


def _delimiter(lines: Iterator[str], path: Path) -> tuple[str, Iterator[str]]:
    """Return the delimiter of the columns, and all lines."""
    if plain_suffix(path) == ".tsv":
        return "\t", lines
    first: list[str] = []
    for line in lines:
        first.append(line)
        if line.rstrip("\r\n"):
            break
    header = re.sub(r'"[^"]*"', "", "".join(first[-1:]))
    return max(",;\t|", key=header.count), itertools.chain(first, lines)


def _swallows_rows(row: list[str], delimiter: str) -> bool:
    """Return whether the lines inside a field have as many columns as the table, unlike prose."""
    for lines in (field.split("\n")[1:-1] for field in row if len(row) > 1):
        if len(lines) >= _LONG_FIELD_LINES and sum(line.count(delimiter) == len(row) - 1 for line in lines) > 0.9 * len(lines):
            return True
    return False


def _quote(path: Path, delimiter: str, first: int, last: int) -> tuple[int, str]:
    """Return (line, explanation) of the quoted field to blame for a faulty row: the first broken one, or the longest."""
    row = "".join(itertools.islice(text.split_lines(text.read_lines(path)), first - 1, last))
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
