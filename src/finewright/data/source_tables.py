"""The tables of a data source by split: a file, a folder, a data set of the hub or of the program, rows in memory."""

import contextlib
import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finewright.core import assets
from finewright.core.config import DataConfig
from finewright.core.errors import UserError, first_line
from finewright.core.files import unchanged_while_reading
from finewright.data import folders, readers
from finewright.data.readers import base
from finewright.data.readers.base import SPLIT_NAMES, FileFormat, FileTable, ReadOptions, Record
from finewright.data.readers.hub import check_reachable, read_hub_records
from finewright.data.tables import Table
from finewright.data.word_rows import group_words

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_ADDRESS = re.compile(r"(?P<kind>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)
_HUB_ADDRESS = re.compile(r"(?:huggingface\.co/)?datasets/([\w.-]+/[\w.-]+)/?")
_PACKAGED = {
    "tickets": assets.TICKETS,
    "requests": assets.REQUESTS,
    "matches": assets.MATCHES,
    "reviews": assets.REVIEWS,
    "topics": assets.TOPICS,
    "entities": assets.ENTITIES,
}
"""Data sets that come with the program, by name."""

Source = str | Path | Table
"""A path, a hub id, or rows in memory."""


@dataclass
class SourceTables:
    """The tables of a source by split. `file`: its name in messages; `names`: of the files by split, where they differ."""

    tables: dict[str, FileTable]
    file: str
    notes: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def name_of(self, split: str) -> str:
        """Return the name of the file of a split, for messages."""
        return self.names.get(split, self.file)


@dataclass(frozen=True)
class TableReading:
    """How the files of a source are read.

    `wanted`: columns that are enough if a file has all of them. `texts`: None if rows with several columns are wanted; else names
    of columns: a file that may be a table or one text a line is a table if its first row has one of them. `with_texts`: whether
    a folder without a table may hold texts alone.
    """

    wanted: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    with_texts: bool = False


def read_tables(source: Source, how: TableReading, *, options: DataConfig) -> SourceTables:
    """Return the rows of all splits of a source as they are.

    Raises
    ------
    UserError
        If there is nothing of that name, or it cannot be read.
    """
    if isinstance(source, Table):
        return SourceTables({name: in_memory(rows, source.repeated) for name, rows in source.splits.items()}, "data")
    path = Path(source)
    if not os.path.exists(path) and not os.path.islink(path) and str(source) != readers.STANDARD_INPUT:
        if str(source) in _PACKAGED:
            found = _read_folder(_PACKAGED[str(source)], how, options=options)
            found.notes[:0] = [f"{str(source)!r} is the data set of that name that comes with finewright"]
            return found
        if _HUB_ID.fullmatch(str(source)) and not readers.suffix(path) and not readers.packing(path):
            return _read_hub(str(source))
    if find_existing(source).is_dir():
        return _read_folder(path, how, options=options)
    table = read_file(path, how, options=options)
    parts = {name: table.of_split(name) for name in table.splits} if table.splits else {"train": table}
    return SourceTables(parts, shown_name(path))


def read_one_table(source: Source, how: TableReading, *, options: DataConfig) -> tuple[FileTable, str]:
    """Return all rows of one file or of a table in memory, whatever their split, and its name in messages."""
    if isinstance(source, Table):
        return in_memory(source.all_records(), source.repeated), "data"
    path = find_existing(source)
    table = read_file(path, how, options=options)
    table.notes[:0] = describe_packaged(source)
    return table, shown_name(path)


def read_file(path: Path, how: TableReading, *, options: DataConfig) -> FileTable:
    """Return the rows of one file."""
    read_options = ReadOptions(wanted=how.wanted, encoding=options.encoding, no_header=options.no_header)
    with reading(path):
        return group_words(readers.read_file(path, read_options, form=options.format, texts=how.texts))


def reading(path: Path) -> contextlib.AbstractContextManager[None]:
    """Refuse a file that changes while it is read; what comes through a pipe is read once and cannot."""
    return unchanged_while_reading(path) if path.is_file() else contextlib.nullcontext()


def shown_name(path: Path) -> str:
    """Return the name of a file in messages."""
    return "standard input" if str(path) == readers.STANDARD_INPUT else path.name


def in_memory(records: list[Record], repeated: Mapping[str, str] | None = None) -> FileTable:
    """Return rows that are already in memory as a table."""
    columns = base.find_columns(records)
    return group_words(FileTable(records, columns, FileFormat(""), header=columns, repeated=dict(repeated or {})))


def find_existing(source: str | Path) -> Path:
    """Return the path; of a data set of the program that of its test rows, as one file is wanted. Raise `UserError` with the
    nearest name in its folder if nothing is there."""
    path = Path(source)
    if str(source) == readers.STANDARD_INPUT or os.path.exists(path):  # unlike `path.exists()`, without an error for any name
        return path
    if is_packaged(source):
        return next(_PACKAGED[str(source)].glob("test.*"))
    if address := _ADDRESS.fullmatch(str(source)):
        raise _is_address(address, shown=str(source))
    what = "a link that leads nowhere" if os.path.islink(path) else "no such file"
    raise base.bad_file(what, path, _did_you_mean(path) or "check the path")


def is_packaged(source: str | Path) -> bool:
    """Return whether this is the name of a data set that comes with the program, and of nothing else here."""
    return str(source) in _PACKAGED and not os.path.lexists(source)


def describe_packaged(source: str | Path) -> list[str]:
    """Return the note that one file of a data set of the program is read in its place; none if it is none."""
    return (
        [f"{str(source)!r}: the test rows of the data set of that name that comes with finewright"] if is_packaged(source) else []
    )


def find_local(source: str) -> Path | None:
    """Return where rows can be read from again at any time: a file, a folder, or a data set of the program; None if nowhere."""
    path = _PACKAGED.get(source, Path(source))
    return path if os.path.isfile(path) or os.path.isdir(path) else None


def _is_address(address: re.Match[str], *, shown: str) -> UserError:
    """Return the error for an address in place of a path, with the way to its data."""
    kind, rest = address["kind"].casefold(), address["rest"]
    whole = f"{kind}://{rest}"
    if kind == "file":
        fix = f"give the path: /{rest}"
    elif hub := _HUB_ADDRESS.fullmatch(rest):
        fix = f"give the hub id: {hub[1]}"
    else:
        fix = f"download it first, such as with `curl -LO {whole}`" if kind in ("http", "https") else "download it first"
    return base.bad_file("addresses are not read", whole if "://" in whole else shown, fix)


def _did_you_mean(path: Path) -> str:
    near = difflib.get_close_matches(path.name, [name for name in folders.list_names(path.parent) if name != path.name], n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def _read_folder(path: Path, how: TableReading, *, options: DataConfig) -> SourceTables:
    found = folders.find_splits(path, with_texts=how.with_texts)
    tables = {
        split: base.join_tables([read_file(file, how, options=options) for file in files]) for split, files in found.files.items()
    } | found.tables
    return SourceTables(tables, path.name, found.notes, {split: files[0].name for split, files in found.files.items()})


def _read_hub(identity: str) -> SourceTables:
    local = _did_you_mean(Path(identity)) or "or give a local file or folder"
    try:
        import datasets
    except ImportError:
        what = f"{identity!r} is no file here; as a hub data set it wants `datasets`"
        raise UserError(what, fix=f"pip install 'finewright[hub]', {local}") from None
    check_reachable(identity, cache=Path(datasets.config.HF_DATASETS_CACHE), fix=f"check the network, {local}")
    try:
        loaded: Any = datasets.load_dataset(identity)
        found = {split: next((name for name in names if name in loaded), None) for split, names in SPLIT_NAMES.items()}
        records = {split: read_hub_records(loaded[name], file=f"{identity}/{name}") for split, name in found.items() if name}
    except Exception as error:  # the library and its network layer raise many kinds
        reason = first_line(error)
        raise base.bad_file(f"cannot load the data set: {reason}", identity, f"check the name and the network, {local}") from None
    if "train" not in records:
        raise base.bad_file(f"no train split, found {', '.join(loaded)}", identity, "another data set, or a local file")
    return SourceTables({name: in_memory(rows) for name, rows in records.items()}, identity)
