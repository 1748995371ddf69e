"""Tables out: CSV, TSV, JSON lines, JSON, Parquet, Excel, texts; in the way a file that was read is written."""

import csv
import datetime
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from finewright.core import files
from finewright.core.errors import UserError
from finewright.core.units import counted
from finewright.data.readers.base import FileTable, ShownCell
from finewright.data.readers.encodings import MARKS
from finewright.data.readers.source import packing, plain_suffix

_FIX = "free space, or write to another place"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,6})?")
_LARGEST_CELL = 32_767
"""Characters that a cell of Excel may have."""
_FIRST_EXCEL_YEAR = 1900
_PLAIN_TEXT = (".csv", ".tsv", ".txt")
"""Formats without types and with an encoding of their own: JSON is always UTF-8 without a mark."""


def write_table(target: Path | IO[bytes], table: FileTable, format: str | None = None) -> list[str]:
    """Write a table to a file, all of it or nothing, or to a stream of bytes. Return notes for the user.

    Parameters
    ----------
    target
        A path, which is replaced if it exists, or a stream that is open for writing bytes.
    table
        Rows and columns, such as `read_table` gives, with more of them from `FileTable.with_columns`.
    format
        `csv`, `tsv`, `jsonl`, `json`, `parquet`, `xlsx` or `txt`. When it is None the path tells it, else the table. Text that
        was read from text keeps the delimiter, encoding and line ends of that file; JSON is plain UTF-8. A path that ends in
        `.gz` is packed.

    Raises
    ------
    UserError
        If the format is not known, what it needs is not installed, or the place cannot be written to.
    """
    path = target if isinstance(target, Path) else None
    kind = _choose_kind(path, table, format)
    notes: list[str] = []
    content = _WRITERS[kind](table, kind, notes)
    if path is None:
        target.write(content)  # type: ignore[union-attr]
        return notes
    if path.suffix.lower() == ".gz":
        content = gzip.compress(content, mtime=0)
    draft = path.with_name(files.DRAFT + path.name)
    with files.explaining_os_errors(path, fix=_FIX):
        files.remove(draft)
        with files.new_file(draft) as descriptor:
            files.write(descriptor, content)
        files.rename(draft, path)
    return notes


def _choose_kind(path: Path | None, table: FileTable, format: str | None) -> str:
    """Return the suffix of the format to write. Raise `UserError` if it is not known or cannot be packed so."""
    kind = f".{format.casefold().removeprefix('.')}" if format else ""
    kind = kind or (plain_suffix(path) if path else "") or table.format.suffix
    if kind == ".txt" and len(table.columns) > 1:
        kind = ".tsv"
    if kind not in _WRITERS:
        known = ", ".join(suffix.removeprefix(".") for suffix in _WRITERS)
        raise UserError(f"cannot write the format {kind.removeprefix('.')!r}", where=str(path or "format"), fix=f"one of {known}")
    if path and path.suffix.lower() in (".zip", ".bz2", ".xz"):
        raise UserError(f"cannot pack as {path.suffix}", where=str(path), fix=f"{path.stem}, or {path.stem}.gz")
    return kind


def name_output(source: Path, table: FileTable, *, added: str) -> Path:
    """Return the path beside a file that was read for the same rows with more columns: `new.labelled.csv` for `new.csv`."""
    packed = ".gz" if packing(source) == ".gz" else ""
    kind = table.format.suffix if table.format.suffix in _WRITERS else ".parquet" if table.format.suffix == ".arrow" else ".csv"
    kind = ".tsv" if kind == ".txt" else kind
    stem = source.name[: len(source.name) - len(packing(source))] if packing(source) else source.name
    return source.with_name(f"{Path(stem).stem}.{added}{kind}{packed}")


def check_output(path: Path, table: FileTable, *, force: bool) -> None:
    """Raise `UserError` if a table could not be written to this path, before any work is done for it.

    `force`: an existing file is replaced.
    """
    kind = _choose_kind(path, table, None)
    if kind == ".xlsx":
        _load_openpyxl()
    if path.is_dir():
        raise UserError("this is a folder", where=str(path), fix="-o with the name of a file")
    if not path.parent.is_dir():
        raise UserError(f"no folder {path.parent}", where=str(path), fix="create it, or -o elsewhere")
    if path.exists() and not force:
        raise UserError("the file exists already", where=str(path), fix="--force replaces it; or -o with another name")


def _load_openpyxl() -> Any:
    try:
        import openpyxl
    except ImportError:
        fix = "pip install 'finewright[excel]', or write CSV"
        raise UserError("writing Excel workbooks needs `openpyxl`", where="xlsx", fix=fix) from None
    return openpyxl


def _encode(text: str, table: FileTable, notes: list[str]) -> bytes:
    """Return the text in the encoding of the text file that was read; in UTF-8 if that lacks one of its characters."""
    form = table.format
    if form.suffix not in _PLAIN_TEXT:
        return _encode_utf8(text, notes)
    mark = next((mark for mark, name in MARKS.items() if name == form.encoding), b"") if form.mark else b""
    try:
        return mark + text.encode(form.encoding)
    except UnicodeEncodeError as error:
        if form.encoding == "utf-8":
            return mark + _encode_utf8(text, notes)
        notes.append(f"written as UTF-8: {form.encoding} has no {text[error.start]!r}")
        return text.encode("utf-8-sig", "replace")


def _encode_utf8(text: str, notes: list[str]) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        notes.append(f"{text[error.start]!r} was replaced")
        return text.encode("utf-8", "replace")


def _delimited(table: FileTable, kind: str, notes: list[str]) -> bytes:
    form = table.format
    same = form.suffix == kind
    delimiter = form.delimiter if same else "\t" if kind == ".tsv" else ","
    rows = [[_as_text(record.values.get(name)) for name in table.columns] for record in table.records]
    header = [list(table.header)] if form.header else []
    special = re.compile(f"[\r\n{re.escape(delimiter)}]")
    plain = same and not form.quoted and not any(special.search(cell) for row in (*header, *rows) for cell in row)
    if same and not form.quoted and not plain:
        notes.append("fields are quoted, since one has a separator or a line end inside")
    out = io.StringIO(newline="")
    end = form.newline
    if plain:
        out.writelines(delimiter.join(row) + end for row in (*header, *rows))
    else:
        csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([*header, *rows])
    return _encode(out.getvalue(), table, notes)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    """Return a value that JSON has: no NaN."""
    return None if isinstance(value, float) and value != value else value


def _json_rows(table: FileTable) -> Iterable[str]:
    for record in table.records:
        row = {name: _plain(record.values[name]) for name in table.columns if name in record.values}
        yield json.dumps(row, ensure_ascii=False, default=str)


def _json_lines(table: FileTable, kind: str, notes: list[str]) -> bytes:
    return _encode_utf8("".join(f"{row}\n" for row in _json_rows(table)), notes)


def _json_array(table: FileTable, kind: str, notes: list[str]) -> bytes:
    return _encode_utf8("[\n" + ",\n".join(_json_rows(table)) + "\n]\n", notes)


def _lines(table: FileTable, kind: str, notes: list[str]) -> bytes:
    texts = (_as_text(record.values.get(table.columns[0])) for record in table.records)
    return _encode("".join(re.sub(r"[\r\n]+", " ", text) + table.format.newline for text in texts), table, notes)


def _parquet(table: FileTable, kind: str, notes: list[str]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns = {}
    for name in table.columns:
        values = [record.values.get(name) for record in table.records]
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowException, OverflowError):
            columns[name] = pyarrow.array([None if value is None else _as_text(value) for value in values])
            notes.append(f"{name!r} holds values of several types, and was written as text")
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def _workbook(table: FileTable, kind: str, notes: list[str]) -> bytes:
    openpyxl = _load_openpyxl()
    from openpyxl.cell import WriteOnlyCell

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    num_cut = 0

    def cell(value: Any) -> Any:
        nonlocal num_cut
        made = WriteOnlyCell(sheet)
        typed = _as_cell_value(value, typeless=table.format.suffix in _PLAIN_TEXT)
        if isinstance(typed, str):
            num_cut += len(typed) > _LARGEST_CELL
            made.value = _ILLEGAL.sub(" ", typed[:_LARGEST_CELL])
            made.data_type = "s"  # not a formula, whatever it begins with
        else:
            made.value = typed
        if isinstance(value, ShownCell):
            made.number_format = value.number_format
        return made

    for row in [table.header] if table.format.header else []:
        sheet.append([cell(name) for name in row])
    for record in table.records:
        sheet.append([cell(record.values.get(name)) for name in table.columns])
    if num_cut:
        notes.append(f"{counted(num_cut, 'cell was', 'cells were')} cut to the {_LARGEST_CELL:,} characters that Excel allows")
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _as_cell_value(value: Any, *, typeless: bool) -> Any:
    """Return what a cell of a workbook holds: a value of its own type, else text.

    `typeless`: the table comes from a format in which everything is text; what looks like a number there is one.
    """
    if isinstance(value, ShownCell):
        return value.value
    if isinstance(value, bool | int | float) or value is None:
        return _plain(value)
    if isinstance(value, datetime.datetime | datetime.time) and value.tzinfo is not None:
        return str(value)  # a cell has no time zone
    if isinstance(value, datetime.time | datetime.timedelta):
        return value
    if isinstance(value, datetime.date):
        return value if value.year >= _FIRST_EXCEL_YEAR else str(value)
    text = _as_text(value)
    if typeless and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_WRITERS: dict[str, Callable[[FileTable, str, list[str]], bytes]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".parquet": _parquet,
    ".xlsx": _workbook,
    ".txt": _lines,
}
