"""Excel workbooks: the cells of one sheet as they are shown; errors name sheet and row."""

import datetime
import io
import re
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from finewright.core.errors import first_line
from finewright.data.readers.base import (
    FileFormat,
    FileTable,
    InputFile,
    ReadOptions,
    Record,
    ShownCell,
    name_columns,
    number_columns,
)
from finewright.data.readers.text import bad_file

SUFFIXES = (".xlsx", ".xlsm")
_NUMBER = "n"
"""Type of a cell that names none."""
_FORMULA = re.compile(rb"<(\w+:)?f[\s>/]")
"""The start of a formula; a program may name its namespace."""
_PIECE_BYTES, _LONGEST_TAG = 1 << 20, 100


def read(file: InputFile, options: ReadOptions) -> FileTable:
    """Return the rows of the first visible sheet that has any; every column is read."""
    try:
        import openpyxl
    except ImportError:
        fix = "pip install 'finewright[excel]', or save the sheet as CSV UTF-8"
        raise bad_file("reading Excel workbooks needs `openpyxl`", file.path, fix) from None
    try:
        content = file.read_bytes()
        book: Any = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        filled = [(sheet.title, rows) for sheet in visible if (rows := list(_full_rows(sheet)))]
        uncalculated = _find_uncalculated(book, content, filled[0][0]) if filled else {}
    except Exception as error:  # a damaged workbook raises errors of many libraries
        if isinstance(error, MemoryError):
            raise
        reason = first_line(error)
        raise bad_file(f"not readable as an Excel workbook: {reason}", file.path, "save it again, or as CSV") from None
    if not filled:
        raise bad_file("no sheet with rows", file.path, "it wants a header with the names of the columns, then rows")
    title, rows = filled[0]
    table = _to_table(rows, f"{file.name}: {title} row ", no_header=options.no_header)
    names = dict(enumerate(table.columns, start=1))
    sheet = f"{title}!" if len(filled) > 1 else ""
    table.uncalculated = {
        names.get(number, f"column {number}"): [f"{sheet}{cell}" for cell in cells] for number, cells in uncalculated.items()
    }
    if len(filled) > 1:
        others = ", ".join(repr(name) for name, _ in filled[1:])
        table.notes.append(f"{file.name}: only the sheet {title!r} is read, not {others}")
    return table


def _find_uncalculated(book: Any, content: bytes, title: str) -> dict[int, list[str]]:
    """Return, by the number of the column, the cells that hold a formula and no value: a program wrote it that does not
    calculate. Both readings go row by row: a whole sheet of XML is many times its file."""
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(book[title]._worksheet_path) as sheet:
        if not _has_formulas(sheet):
            return {}
    formulas: Any = openpyxl.load_workbook(io.BytesIO(content), read_only=True)
    found: dict[int, list[str]] = {}
    for row, of_row in zip(book[title].iter_rows(), formulas[title].iter_rows(), strict=True):
        for cell, formula in zip(row, of_row, strict=True):
            # an empty text has a type of its own
            if formula.data_type == "f" and cell.value is None and cell.data_type == _NUMBER:
                found.setdefault(formula.column, []).append(formula.coordinate)
    return found


def _has_formulas(sheet: IO[bytes]) -> bool:
    """Return whether the XML of a sheet has a formula."""
    seen = b""
    while piece := sheet.read(_PIECE_BYTES):
        seen = seen[-_LONGEST_TAG:] + piece
        if _FORMULA.search(seen):
            return True
    return False


def _to_table(rows: list[tuple[int, list[Any]]], place: str, *, no_header: bool) -> FileTable:
    width = max(len(cells) for _, cells in rows)
    header: list[str] = []
    if no_header:
        columns, repeated = number_columns(width), dict[str, str]()
    else:
        number, cells = rows.pop(0)
        header = ["" if one is None else str(one) for one in [*cells, *[None] * (width - len(cells))]]
        columns, repeated = name_columns(header, f"{place}{number}")
    records = [
        Record(f"{place}{number}", dict(zip(columns, [*cells, *[None] * (width - len(cells))], strict=True)))
        for number, cells in rows
    ]
    return FileTable(records, columns, FileFormat(".xlsx", header=not no_header), header=tuple(header), repeated=repeated)


def _full_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield (number, cells up to the last full one) of the rows that are not empty."""
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_read_cell(cell) for cell in row]
        while cells and cells[-1] is None:
            cells.pop()
        if cells:
            yield number, cells


def _read_cell(cell: Any) -> str | None:
    """Return a cell as Excel shows it; one that is no text also knows its value."""
    value, style = cell.value, str(getattr(cell, "number_format", "") or "General")
    if value is None or getattr(cell, "data_type", "") == "e":
        return None
    shown = _shown(value, style)
    return shown if shown is None or isinstance(value, str) else ShownCell(shown, value, style)


def _shown(value: Any, style: str) -> str | None:
    """Return a value as Excel shows it: numbers without a needless fraction, with the zeros of a format such as 000."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return _shown_number(value, style)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()
    return str(value) if str(value) != "" else None


def _shown_number(value: float, style: str) -> str:
    if style and not style.strip("0") and float(value).is_integer():
        return f"{int(value):0{len(style)}d}"
    if style in ("0%", "0.00%"):
        return f"{value:.{2 if '.' in style else 0}%}"
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else f"{value:.15g}"
