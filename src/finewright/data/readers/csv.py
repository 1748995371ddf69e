"""CSV and TSV, as spreadsheets, databases and people write them; errors name the line."""

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from finewright.data.readers import csv_dialects, text
from finewright.data.readers.base import FileTable, InputFile, ReadOptions, Record, combine_faults, name_columns, number_columns
from finewright.data.readers.csv_dialects import Dialect
from finewright.data.readers.text import Decoding, bad_file

SUFFIXES = (".csv", ".tsv")
_MOST_QUOTED = 5
"""Faulty rows of several lines for which the quote to blame is searched: each search reads the file again from its start."""
_LONGEST_FIELD = 64 << 20
_LONG_FIELD_LINES = 20
"""A quoted field of more lines is checked: it may be a long text, or rows that a stray quote swallowed."""
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(slots=True)
class _Fault:
    """A row that cannot be read, between two lines. `num_fields`: 0 if its end was not found."""

    first: int
    last: int
    what: str
    num_fields: int = 0


@dataclass
class _Parsed:
    """`padded`: rows with empty fields at the end that are too many. `blank`: blank lines since the last row.

    `has_long_row`: a row of several lines; `has_backslash`: one with a backslash before a quote.
    """

    dialect: Dialect
    header: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    repeated: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    faults: list[_Fault] = field(default_factory=list)
    padded: list[_Fault] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    has_long_row: bool = False
    has_backslash: bool = False


def read(file: InputFile, options: ReadOptions) -> FileTable:
    """Return all rows; every column is read."""
    decoding = Decoding(options.encoding)

    def parse(lines: Iterator[str], file: InputFile) -> _Parsed:
        dialect, lines = csv_dialects.find(text.split_lines(lines), suffix=file.suffix, header=not options.no_header)
        parsed = _parse(lines, file, dialect, options)
        parsed = next(_read_otherwise(parsed, file, options), parsed)
        if parsed.faults:
            raise combine_faults(_explain(parsed, file), parsed.dialect.advice)
        if not parsed.columns:
            raise bad_file("the file is empty", file.path, "it wants a header line with the names of the columns, then rows")
        return parsed

    parsed = text.parse_lines(file, parse, decoding)
    dialect = parsed.dialect
    notes = [*decoding.notes, *(f"{file.name}: {one}" for one in dialect.notes(file.suffix))]
    if parsed.padded:
        notes.append(f"{file.name}: every row ends with empty fields that the header lacks; they were left out")
    found = replace(
        decoding.file_format(file.suffix if file.suffix in SUFFIXES else ".csv"),
        delimiter=dialect.delimiter,
        quoted=dialect.quoted,
        header=not options.no_header,
    )
    return FileTable(parsed.records, parsed.columns, found, notes, tuple(parsed.header), parsed.repeated)


def _read_otherwise(parsed: _Parsed, file: InputFile, options: ReadOptions) -> Iterator[_Parsed]:
    """Yield the file read in another dialect that fits it without a fault, where the first did not, or may be wrong."""
    for dialect in csv_dialects.others(
        parsed.dialect, faulty=bool(parsed.faults), long_rows=parsed.has_long_row, backslash=parsed.has_backslash
    ):
        lines = text.split_lines(text.read_lines(file, Decoding(options.encoding)))
        found = _parse(lines, file, dialect, options, only_good=True)
        quoted = not dialect.quoted and csv_dialects.is_quoted(record.values.values() for record in found.records)
        if not found.faults and not quoted and (parsed.faults or len(found.records) > len(parsed.records)):
            yield found


def _parse(lines: Iterator[str], file: InputFile, dialect: Dialect, options: ReadOptions, *, only_good: bool = False) -> _Parsed:
    """Return the rows, or the faults. `only_good`: end at the first fault."""
    parsed = _Parsed(dialect)
    for first, last, row, fault in _csv_rows(lines, dialect):
        if not row and not fault:
            parsed.blank += [first] if options.keep_blank and parsed.columns else []
        elif parsed.columns or fault:
            _take_row(parsed, row, _Fault(first, last, fault, len(row)), file.name)
        else:
            _take_header(parsed, row, f"{file.name}:{first}", options)
            if options.no_header:
                _take_row(parsed, row, _Fault(first, last, fault, len(row)), file.name)
        if only_good and parsed.faults:
            break
    if len(parsed.padded) != len(parsed.records) or len({one.num_fields for one in parsed.padded}) > 1:
        parsed.faults = sorted([*parsed.faults, *parsed.padded], key=lambda one: one.first)
        parsed.padded = []
    return parsed


def _take_row(parsed: _Parsed, row: list[str], place: _Fault, name: str) -> None:
    """Add a row to the records, or what is wrong with it to the faults. `place`: its lines, and a fault that was found."""
    width = len(parsed.columns)
    if row and len(row) != width:
        place.what = f"{len(row)} fields, the {'header' if parsed.header else 'first row'} has {width}"
        if len(row) > width and not any(row[width:]):
            parsed.padded.append(replace(place))
            row, place.what = row[:width], ""
    elif row and place.last > place.first:
        parsed.has_long_row = True
        parsed.has_backslash |= any('\\"' in cell for cell in row)
        if place.last - place.first > _LONG_FIELD_LINES and _swallows_rows(row, parsed.dialect.delimiter):
            place.what = "the lines inside look like rows"
    if place.what:
        parsed.faults.append(place)
        return
    if parsed.blank:
        parsed.records += [Record(f"{name}:{line}", dict.fromkeys(parsed.columns, "")) for line in parsed.blank]
        parsed.blank = []
    parsed.records.append(Record(f"{name}:{place.first}", dict(zip(parsed.columns, row, strict=True))))


def _take_header(parsed: _Parsed, row: list[str], where: str, options: ReadOptions) -> None:
    if options.no_header:
        parsed.columns = number_columns(len(row))
    else:
        parsed.header = row
        parsed.columns, parsed.repeated = name_columns(row, where)


def _csv_rows(lines: Iterator[str], dialect: Dialect) -> Iterator[tuple[int, int, list[str], str]]:
    """Yield (first line, last line, fields, fault) of each row; a fault ends the iteration."""
    csv.field_size_limit(_LONGEST_FIELD)
    lines = itertools.islice(lines, dialect.num_above, None)
    reader = csv.reader(
        map(csv_dialects.double_quotes, lines) if dialect.backslash else lines,
        delimiter=dialect.delimiter,
        strict=dialect.quoted,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        skipinitialspace=dialect.spaced,
    )
    above = dialect.num_above
    line = above + 1
    try:
        for row in reader:
            yield line, above + reader.line_num, row, ""
            line = above + reader.line_num + 1
    except csv.Error as error:
        never = "unexpected end" in str(error)
        after = "text follows a closing quote" if "expected after" in str(error) else str(error)
        yield line, above + reader.line_num, [], "a quote that opens here is never closed" if never else after


def _explain(parsed: _Parsed, file: InputFile) -> list[str]:
    """Return the faults with their places; of the first that take several lines with the quote to blame."""
    said, num_quoted = [], 0
    for fault in parsed.faults:
        line, quote = fault.first, ""
        if fault.last > fault.first and num_quoted < _MOST_QUOTED:
            num_quoted += 1
            line, quote = _quote(file, parsed.dialect.delimiter, fault.first, fault.last)
        said.append(f"{file.name}:{line}: {quote or fault.what}{f'; {fault.what}' if quote and fault.num_fields else ''}")
    return said


def _swallows_rows(row: Sequence[str], delimiter: str) -> bool:
    """Return whether the lines inside a field have as many columns as the table, unlike prose."""
    for lines in (cell.split("\n")[1:-1] for cell in row if len(row) > 1):
        if len(lines) >= _LONG_FIELD_LINES and sum(line.count(delimiter) == len(row) - 1 for line in lines) > 0.9 * len(lines):
            return True
    return False


def _quote(file: InputFile, delimiter: str, first: int, last: int) -> tuple[int, str]:
    """Return (line, explanation) of the quoted field to blame for a faulty row: the first broken one, or the longest."""
    row = "".join(itertools.islice(text.split_lines(text.read_lines(file)), first - 1, last))
    cells = list(re.finditer(rf'(?:^|{re.escape(delimiter)})("[^"]*(?:""[^"]*)*)("?)', row))
    broken = [cell for cell in cells if not cell[2] or row[cell.end() : cell.end() + 1] not in ("", delimiter, "\r", "\n")]
    blamed = broken[0] if broken else max(cells, key=lambda found: len(found[1]), default=None)
    if blamed is None:
        return first, ""
    opens = first + len(_LINE_END.findall(row, 0, blamed.start(1)))
    closes = first + len(_LINE_END.findall(row, 0, blamed.end()))
    if not blamed[2]:
        return opens, "a quote that opens here is never closed"
    return opens, f"a quote that opens here closes in line {closes}{', and text follows it' if broken else ''}"
