"""One reader per file format; the folder is the registry.

A reader is a module with `SUFFIXES`, the names' ends it reads, and `read(file, options)`, which returns a `FileTable`: all rows
as records, the columns in order, the format to write the like again, and notes for the user.
"""

import importlib
import pkgutil
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from finewright.core.errors import UserError
from finewright.data.readers import conll, lines, sniffing
from finewright.data.readers.base import FileTable, InputFile, ReadOptions, Record
from finewright.data.readers.source import STANDARD_INPUT, bad_file, packing, plain_suffix

__all__ = ["STANDARD_INPUT", "formats", "is_table", "packing", "read_file", "read_records", "suffix"]

TEXT = ".txt"


@cache
def _readers() -> dict[str, Any]:
    """Return the module that reads each suffix."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {suffix: module for module in modules for suffix in getattr(module, "SUFFIXES", ())}


def formats() -> list[str]:
    """Return the names of the formats that `--format` knows."""
    return [suffix.removeprefix(".") for suffix in _readers()]


def suffix(path: Path) -> str:
    """Return `.csv` for `a.csv` and `a.csv.gz`, or nothing if no reader knows the suffix; `.txt` holds texts without labels."""
    found = plain_suffix(path)
    return found if found in _readers() or found == TEXT else ""


def is_table(name: str) -> bool:
    """Return whether the name is that of a table, packed or not."""
    return plain_suffix(Path(name)) in _readers() or packing(Path(name)) == ".zip"


def read_file(path: Path, options: ReadOptions, *, form: str | None = None, texts: Collection[str] | None = None) -> FileTable:
    """Return all that is in a file. Raise one `UserError` with up to 20 places if it cannot be read.

    Parameters
    ----------
    path
        A file, packed or not, a pipe, or `-` for standard input.
    form
        The format, such as `csv`. When it is None the name tells it, else the content.
    texts
        None if rows with several columns are wanted. Else the names of text columns: a file that may be a table or one text a
        line is a table if one of them is in its first row, and has lines otherwise.
    """
    file = InputFile(path, is_table=lambda name: plain_suffix(Path(name)) in _readers())
    notes: list[str] = []
    if TEXT not in (file.suffix, form and f".{form.casefold().removeprefix('.')}") and not options.no_header:
        sniffing.refuse_other_formats(file)  # a text, alone in its line, may begin as a page does
    if form is not None:
        kind = _check_format(form)
    elif file.suffix in _readers():
        kind = file.suffix
    else:
        kind, names = sniffing.find_suffix(file, options)
        known = {name.casefold() for name in texts or ()}
        is_tagged = conll.is_conll(sniffing.first_lines(file, options))
        if (
            not is_tagged
            and texts is not None
            and kind in ("", ".csv", ".tsv")
            and not known & {name.casefold() for name in names}
        ):
            return lines.read(file, options)
        if kind:
            notes.append(f"{file.name}: read as {kind.removeprefix('.')}, by its content; --format says otherwise")
    if form is None and kind in ("", ".csv", ".tsv") and conll.is_conll(sniffing.first_lines(file, options)):
        notes[:] = [f"{file.name}: read as CoNLL, a word and its tag in each line, by its content; --format says otherwise"]
        kind = ".conll"
    if not kind:
        what = "a .txt file has texts, no labels" if file.suffix == TEXT else f"cannot tell the format of {file.name}"
        raise bad_file(what, path, f"name a table with one of {', '.join(_readers())}, packed or not, or say its --format")
    if kind != file.suffix:
        file.suffix = kind
    content = lines.read(file, options) if kind == TEXT else _readers()[kind].read(file, options)
    content.notes[:0] = notes
    return content


def _check_format(form: str) -> str:
    kind = f".{form.casefold().removeprefix('.')}"
    if kind != TEXT and kind not in _readers():
        raise UserError(f"unknown format {form!r}", where="--format", fix=f"one of {', '.join(formats())}, txt")
    return kind


def read_records(path: Path, *, wanted: Collection[str] = ()) -> tuple[list[Record], list[str]]:
    """Return all rows of a file and notes for the user. `wanted`: columns that are enough if the file has all of them."""
    content = read_file(path, ReadOptions(wanted=wanted))
    return content.records, content.notes
