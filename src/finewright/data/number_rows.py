"""Rows of a table that have a text and a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from finewright.core.config import DataConfig
from finewright.data import columns as column_names
from finewright.data.columns import choose_columns
from finewright.data.labelled_rows import LabelledRows, read_pair, read_text
from finewright.data.number_cells import find_style, read_number, write_number
from finewright.data.readers import base
from finewright.data.readers.base import LABEL_NAMES, TEXT_NAMES, FileTable
from finewright.data.splits import Example

NUMBER_NAMES = ("score", "rating", "stars", "grade", "value", "number", "price", "amount", "similarity", "target", "y")
"""Usual names of columns of numbers."""
CLASS_NAMES = ("label", "labels", "class", "category", "intent", "topic", "label_id", "class_id", "team")
"""Usual names of columns of classes."""
_INDEX_NAMES = {"id", "idx", "index", "row", "nr", "no", "unnamed: 0", ""}
MOST_BINS, ROWS_PER_BIN = 10, 20
"""Bins of values that splits take an even share of, and the fewest rows of each."""
MOST_CLASSES = 20
"""Different whole numbers that are taken for classes whatever they are."""
FEW_RATINGS = (3, 11)
"""Different whole numbers in a row, from 0 or 1, that may be a rating."""
ROWS_PER_CLASS = 5
"""Rows of each number, on average, from which on whole numbers without gaps may be numbered classes."""
_MOST_FAULTS = 0.1
"""Share of cells that are no number in a column that is one of numbers all the same: faults of their rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRow(Example):
    """A text with a number. `label`: the number as text; `bin`: the range of values that it is in, by quantiles."""

    stratified_by: ClassVar[str] = "ranges of the values"

    value: float
    bin: str = ""

    @property
    def stratum(self) -> str:
        """What a split gives each part the same share of: the range of the value."""
        return self.bin

    def own_labels(self) -> tuple[str, ...]:
        """Return no label: there is nothing to tell apart."""
        return ()


def read_number_rows(table: FileTable, *, options: DataConfig, file: str) -> LabelledRows:
    """Return the rows with a text and a number.

    Raises
    ------
    UserError
        If a row has no text or no finite number: it names the rows. If decimals are written in two forms.
    """
    if not table.records:
        raise base.bad_file("no rows", file, "a header alone is not enough; add rows")
    notes = list(table.notes)
    if options.label_column is None and (guessed := find_number_column(table, options)):
        notes += [] if guessed == LABEL_NAMES[0] else [f"number column: {guessed!r} (guessed; --label-column changes it)"]
        options = options.model_copy(update={"label_column": guessed})
    columns = choose_columns(table, options, file=file)
    cells = [record.values.get(columns.label) for record in table.records]
    style = find_style(cells, decimal=options.decimal, where=f"{file}, column {columns.label!r}")
    rows, records, faults = [], [], []
    for record, cell in zip(table.records, cells, strict=True):
        text, text_fault = read_text(record, columns, options)
        value, fault = read_number(cell, style)
        if text_fault or fault:
            faults.append(f"{record.where}: {', '.join(filter(None, (text_fault, fault)))}")
        else:
            rows.append(NumberRow(text, write_number(value), record.where, pair=read_pair(record, columns), value=value))
            records.append(record)
    if faults and not options.skip_invalid_rows:
        raise base.combine_faults(faults, "correct these rows, or leave them out with --set data.skip_invalid_rows=true")
    notes += columns.notes
    notes += [f"{len(faults):,} rows dropped: {'; '.join(faults[:5])}"] if faults else []
    if style.decimal == "comma":
        shown = next(cell for cell in cells if isinstance(cell, str) and not read_number(cell, style)[1])
        notes.append(f"{file}: numbers have decimal commas: {shown!r} is read as {write_number(read_number(shown, style)[0])}")
    if style.percent:
        notes.append(f"{file}: numbers are percent: 85% is read as 85")
    return LabelledRows([*_put_in_bins(rows)], records, table, columns, notes)


def _put_in_bins(rows: Sequence[NumberRow]) -> list[NumberRow]:
    """Return the rows with the range of values that each is in; the ranges have about as many rows each."""
    count = max(1, min(MOST_BINS, len(rows) // ROWS_PER_BIN))
    if count == 1:
        return list(rows)
    values = np.array([row.value for row in rows])
    edges = np.unique(np.quantile(values, np.arange(1, count) / count))
    return [replace(row, bin=str(place)) for row, place in zip(rows, np.searchsorted(edges, values, side="right"), strict=True)]


def find_number_column(table: FileTable, options: DataConfig) -> str:
    """Return the column of the number: a usual name, or the only column of numbers; nothing if none is told.

    `options`: the text columns are no candidates.
    """
    texts = (options.text_column,) if isinstance(options.text_column, str) else options.text_column or ()
    names = {name.casefold().strip(): name for name in reversed(table.columns) if name not in texts}
    for usual in (*NUMBER_NAMES, *LABEL_NAMES):
        if usual in names and usual not in TEXT_NAMES and holds_numbers(table, names[usual]):
            return names[usual]
    numeric = [name for key, name in names.items() if key not in _INDEX_NAMES | {*TEXT_NAMES} and holds_numbers(table, name)]
    return numeric[0] if len(numeric) == 1 else ""


def holds_numbers(table: FileTable, column: str) -> bool:
    """Return whether a column holds numbers, but for a few cells."""
    found = _sample_numbers(table, column)
    return found is not None and len(found) > 1


def _sample_numbers(table: FileTable, column: str) -> list[float] | None:
    """Return the numbers of some rows of a column; None if it holds something else."""
    sample = table.records[:: max(1, len(table.records) // column_names.SAMPLE_ROWS)]
    cells = [record.values.get(column) for record in sample]
    cells = [cell for cell in cells if cell is not None and str(cell).strip()]
    if not cells or any(isinstance(cell, bool) for cell in cells):
        return None
    try:
        style = find_style(cells)
    except base.UserError:  # numbers, of which the sign is not clear: reading asks for it
        style = find_style([], decimal="comma")
    read = [read_number(cell, style) for cell in cells]
    numbers = [value for value, fault in read if not fault]
    others = [cell for cell, (_, fault) in zip(cells, read, strict=True) if fault and not _is_not_finite(fault)]
    return numbers if numbers and len(others) <= _MOST_FAULTS * len(cells) else None


def _is_not_finite(fault: str) -> bool:
    return fault.startswith("the number is")


def describe_numbers(table: FileTable, column: str) -> tuple[bool, str] | None:
    """Return (whether a column of numbers holds amounts, not classes; what was seen); None if it does not hold numbers.

    Decimals are amounts. Few whole numbers are classes; so are many without gaps in a column that is named like one. Raise
    `UserError` that asks for the task where whole numbers may be both.
    """
    numbers = _sample_numbers(table, column)
    if numbers is None:
        return None
    values = sorted(set(numbers))
    low, high, count = write_number(values[0]), write_number(values[-1]), len(values)
    fractions = [value for value in values if not value.is_integer()]
    if fractions:
        shown = ", ".join(write_number(value) for value in fractions[:2])
        return True, f"{column!r} has {count:,} different numbers with decimals, such as {shown}"
    if count <= MOST_CLASSES:
        is_rating = FEW_RATINGS[0] <= count <= FEW_RATINGS[1] and values == [values[0] + step for step in range(count)]
        if not (is_rating and values[0] in (0, 1)):
            return False, ""
        change = "" if column.casefold() in CLASS_NAMES and values[0] == 0 else "; --task regression predicts a number instead"
        return False, f"{column!r} has the {count} whole numbers from {low} to {high}{change}"
    without_gaps = values[-1] - values[0] + 1 == count and values[0] in (0, 1)
    said = f"{column!r} has {count:,} different whole numbers from {low} to {high}"
    if not without_gaps or len(numbers) < ROWS_PER_CLASS * count or column.casefold() in NUMBER_NAMES[:-2]:
        return True, said
    if column.casefold() in CLASS_NAMES:
        return False, said
    raise base.bad_file(
        f"{said}, which may be amounts or numbered classes", "data", "--task regression, or --task text-classification"
    )


def measure_values(rows: Sequence[Example]) -> Mapping[str, Any]:
    """Return mean and standard deviation of the rows' values in float64, and their smallest and largest value."""
    values = np.array([value_of(row) for row in rows], dtype=np.float64)
    return {"mean": float(values.mean()), "std": float(values.std()), "low": float(values.min()), "high": float(values.max())}


def value_of(row: Example) -> float:
    """Return the number of a row, or of a line of predictions, which has it as text."""
    return row.value if isinstance(row, NumberRow) else float(row.label)
