"""What every reader takes and returns: records that know their place, and errors that name it."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data.readers.source import InputFile, bad_file, plain_suffix

__all__ = [
    "LABEL_NAMES",
    "NUMBER_NAMES",
    "PAIR_NAMES",
    "SPLIT_NAMES",
    "TEXT_NAMES",
    "FileFormat",
    "FileTable",
    "InputFile",
    "ReadOptions",
    "Record",
    "ShownCell",
    "bad_file",
    "combine_faults",
    "join_tables",
    "name_columns",
    "number_columns",
    "plain_suffix",
]

MOST_ERRORS = 20
SPLIT_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "testing")}
"""Our splits, and the names that people give them."""


TEXT_NAMES = ("text", "sentence", "content", "review", "message", "question", "body", "document", "utterance", "query")
LABEL_NAMES = ("label", "labels", "category", "class", "target", "intent", "label_text", "topic", "sentiment", "team")
"""Usual names of the columns, the first before all others."""
NUMBER_NAMES = ("score", "rating", "stars", "grade", "value", "number", "price", "amount", "similarity", "target", "y")
"""Usual names of columns of numbers."""
PAIR_NAMES = ("text", "text_pair")
"""Columns of a pair of texts, as the pipelines of transformers name it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file. `where`: `file:line`, for formats without lines `file: row N`."""

    where: str
    values: dict[str, Any]


class ShownCell(str):
    """A cell as a spreadsheet shows it, with the `value` that it holds and its `number_format`, to write the like again."""

    __slots__ = ("number_format", "value")

    value: Any
    number_format: str

    def __new__(cls, shown: str, value: Any, number_format: str) -> "ShownCell":
        """Make the text `shown`."""
        made = super().__new__(cls, shown)
        made.value, made.number_format = value, number_format
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy is made of."""
        return ShownCell, (str(self), self.value, self.number_format)


@dataclass(frozen=True)
class ReadOptions:
    """How to read. `wanted`: columns that are enough if the file has all of them; a columnar format leaves out the others.

    `encoding`: of text files, found out when it is None. `no_header`: the first line is a row. `keep_blank`: blank lines are
    rows too, except at the end.
    """

    wanted: Collection[str] = ()
    encoding: str | None = None
    no_header: bool = False
    keep_blank: bool = False


@dataclass(frozen=True)
class FileFormat:
    """How a table was written, so that another one can be written alike.

    `suffix`: of the format, such as `.csv`. `encoding`: a codec; `mark`: whether a byte order mark begins the file.
    """

    suffix: str
    delimiter: str = ","
    quoted: bool = True
    header: bool = True
    encoding: str = "utf-8"
    mark: bool = False
    newline: str = "\n"


@dataclass
class FileTable:
    """A table as a file holds it: all rows and columns in order, cells as written.

    `columns`: a name of its own for each column, the keys of `Record.values`; a JSON object may lack some. `header`: the names
    as written, empty where a column has none. `format`: how it was written. `repeated`: names that several columns have, with
    the place of the header: such a name chooses none of them. `splits`: of a file that has several; `records` are theirs.
    `uncalculated`: by column, the cells of a spreadsheet with a formula that was never calculated; their values are missing.
    """

    records: list[Record]
    columns: tuple[str, ...]
    format: FileFormat
    notes: list[str] = field(default_factory=list)
    header: tuple[str, ...] = ()
    repeated: dict[str, str] = field(default_factory=dict)
    splits: dict[str, list[Record]] = field(default_factory=dict)
    uncalculated: dict[str, list[str]] = field(default_factory=dict)

    def of_split(self, name: str) -> "FileTable":
        """Return the rows of one split."""
        return replace(self, records=self.splits[name], splits={}, notes=list(self.notes))

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> "FileTable":
        """Return the table with more columns at its end: one value for each row, in order. A name that is taken gets a number."""
        names = []
        for name in added:
            taken, number = {*self.columns, *names}, 2
            free = name
            while free in taken:
                free, number = f"{name} {number}", number + 1
            names.append(free)
        rows = zip(*added.values(), strict=True)
        records = [
            Record(record.where, {**record.values, **dict(zip(names, row, strict=True))})
            for record, row in zip(self.records, rows, strict=True)
        ]
        return replace(self, records=records, columns=(*self.columns, *names), header=(*self.header, *names), splits={})


def join_tables(parts: Sequence[FileTable]) -> FileTable:
    """Return the rows of several files of one table, one after another."""
    first = parts[0]
    if len(parts) == 1:
        return first
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    records = [record for part in parts for record in part.records]
    columns = tuple(dict.fromkeys(name for part in parts for name in part.columns))
    names = dict.fromkeys(name for part in parts for name in part.uncalculated)
    uncalculated = {name: [cell for part in parts for cell in part.uncalculated.get(name, [])] for name in names}
    return replace(first, records=records, columns=columns, header=columns, notes=notes, uncalculated=uncalculated)


def combine_faults(faults: list[str], fix: str) -> UserError:
    """Return several faults, each of which names its place, as one error."""
    rest = f"\n… and {len(faults) - MOST_ERRORS:,} more, {len(faults):,} in all" if len(faults) > MOST_ERRORS else ""
    return UserError("\n".join(faults[:MOST_ERRORS]) + rest, fix=fix, code=ExitCode.BAD_DATA)


def drop_faulty_rows(faults: list[str], *, skip: bool) -> list[str]:
    """Return the note about rows that were left out for these faults; none without one. Raise one `UserError` with all of them
    unless such rows shall be skipped. `skip`: the option `data.skip_invalid_rows`."""
    if faults and not skip:
        raise combine_faults(faults, "correct these rows, or leave them out with --set data.skip_invalid_rows=true")
    return [f"{counted(len(faults), 'row')} dropped: {'; '.join(faults[:5])}"] if faults else []


def number_columns(count: int) -> tuple[str, ...]:
    """Return names for columns that have none: `column 1`, `column 2`."""
    return tuple(f"column {number}" for number in range(1, count + 1))


def name_columns(header: Sequence[str], where: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return a name of its own for each column, and the names that occur several times, with the place of the header."""
    given = [name.strip() for name in header]
    counts = Counter(given)
    seen: set[str] = set()
    names = []
    for number, name in enumerate(given, start=1):
        own = name or f"column {number}"
        own = f"{own} (column {number})" if own in seen else own
        seen.add(own)
        names.append(own)
    return tuple(names), {name: where for name, count in counts.items() if name and count > 1}


def find_columns(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the names that occur in any record, in order."""
    found: dict[str, None] = {}
    for record in records:
        if record.values.keys() - found.keys():
            found |= dict.fromkeys(record.values)
    return tuple(found)


def as_input(path: Path | InputFile) -> InputFile:
    """Return the file at a path, or the file itself."""
    return path if isinstance(path, InputFile) else InputFile(path)
