"""Rows of a table that have a text and a number."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from finewright.core.config import DataConfig
from finewright.data import columns as column_names
from finewright.data.columns import Columns, choose_columns
from finewright.data.labelled_rows import LabelledRows, read_pair, read_text
from finewright.data.number_cells import Decimal, NumberStyle, find_style, read_number, tells_style, write_number
from finewright.data.readers import base
from finewright.data.readers.base import LABEL_NAMES, NUMBER_NAMES, TEXT_NAMES, FileTable
from finewright.data.splits import Example

CLASS_NAMES = ("label", "labels", "class", "category", "intent", "topic", "label_id", "class_id", "team")
"""Usual names of columns of classes."""
_SCORE_WORDS = {*NUMBER_NAMES, *LABEL_NAMES} - {"number", "y"}
"""Words in the name of a column that say that it is to be learnt: `review_score` is, `phone_number` is not."""
_CLASS_ENDINGS = ("_label", "_class", "_category", "_id", "_code", "_type")
_NAMES_OF_CLASSES = ("label_text", "label_name", "text_label", "class_name", "category_name", "intent_name")
_INDEX_NAMES = {"id", "idx", "index", "row", "nr", "no", "unnamed: 0", ""}
MOST_BINS, ROWS_PER_BIN = 10, 20
"""Bins of values that splits take an even share of, and the fewest rows of each."""
MOST_CLASSES = 20
"""Different whole numbers that are taken for classes whatever they are."""
FEW_RATINGS = (3, 11)
"""Different whole numbers in a row, from 0 or 1, that may be a rating."""
ROWS_PER_CLASS = 5
"""Rows of each number, on average, from which on whole numbers without gaps may be numbered classes."""
_LEAST_PER_CLASS = 2
"""Rows of each number, on average, from which on whole numbers in a column that is named like one of classes may be classes."""
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
    shown = next((cell for cell in cells if isinstance(cell, str) and cell.strip()), None)
    if shown is not None and all(read_number(cell, style)[1] for cell in cells):
        fix = "--label-column NAME takes another one, --task text-classification learns classes"
        raise base.bad_file(f"no cell of {columns.label!r} is a number, such as {shown!r:.40}", file, fix)
    rows, records, faults = [], [], []
    for record, cell in zip(table.records, cells, strict=True):
        text, text_fault = read_text(record, columns, options)
        value, fault = read_number(cell, style)
        if text_fault or fault:
            faults.append(f"{record.where}: {', '.join(filter(None, (text_fault, fault)))}")
        else:
            rows.append(NumberRow(text, write_number(value), record.where, pair=read_pair(record, columns), value=value))
            records.append(record)
    dropped = base.drop_faulty_rows(faults, skip=options.skip_invalid_rows)
    tells_decimal, tells_percent = tells_style(cells)
    decimal = style.decimal if tells_decimal or options.decimal != "auto" else ""
    columns = replace(columns, decimal=decimal, percent=style.percent if tells_percent else None)
    notes += columns.notes
    notes += dropped
    if style.decimal == "comma":
        shown = next((cell for cell in cells if isinstance(cell, str) and not read_number(cell, style)[1]), None)
        read = f": {shown!r} is read as {write_number(read_number(shown, style)[0])}" if shown is not None else ""
        notes += [f"{file}: numbers have decimal commas{read}"] if read else []
    if style.percent:
        notes.append(f"{file}: numbers are percent: 85% is read as 85")
    return LabelledRows([*_put_in_bins(rows)], records, table, columns, notes)


def with_one_style(tables: Sequence[FileTable], options: DataConfig, *, file: str) -> DataConfig:
    """Return the options with the sign that begins decimals in any of these tables: the few rows of one may not tell it.

    Raise `UserError` if they write decimals in two ways, or if some are percent and others are not.
    """
    if len(tables) < 2:
        return options
    names = [options.label_column or find_number_column(table, options) for table in tables]
    cells = [record.values.get(name) for table, name in zip(tables, names, strict=True) for record in table.records]
    style = find_style(cells, decimal=options.decimal, where=file)
    return options.model_copy(update={"decimal": style.decimal}) if tells_style(cells)[0] else options


def with_trained_style(table: FileTable, options: DataConfig, trained: Columns, *, file: str) -> DataConfig:
    """Return the options with the sign that begins decimals in the rows of training: `1,250` alone does not tell it.

    Raise `UserError` if a cell can only have the other sign, or if these numbers are percent and those of training are not.
    """
    name = options.label_column or find_number_column(table, options)
    cells, own = [record.values.get(name) for record in table.records], trained.decimal
    if options.decimal == "auto" and (own == "point" or own == "comma"):
        other: Decimal = "comma" if own == "point" else "point"
        for cell in cells:
            if isinstance(cell, str) and read_number(cell, NumberStyle(own))[1] and not read_number(cell, NumberStyle(other))[1]:
                what = f"{cell!r:.40} has a decimal {other}, and the numbers that the model was trained on a decimal {own}"
                raise base.bad_file(what, f"{file}, column {name!r}", f"--set data.decimal={other} reads this file so")
        options = options.model_copy(update={"decimal": own})
    style = find_style(cells, decimal=options.decimal, where=f"{file}, column {name!r}")
    if trained.percent is not None and style.percent != trained.percent and tells_style(cells)[1]:
        these, those = ("percent", "not") if style.percent else ("not percent", "percent")
        what = f"the numbers are {these}, and those that the model was trained on are {those}"
        raise base.bad_file(what, f"{file}, column {name!r}", "write them as in the training rows, with or without percent signs")
    return options


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
    others = [name for key, name in names.items() if key not in _INDEX_NAMES | {*TEXT_NAMES} and not key.endswith("_id")]
    numeric = [name for name in others if holds_numbers(table, name)]
    return numeric[0] if len(numeric) == 1 else ""


def holds_numbers(table: FileTable, column: str) -> bool:
    """Return whether a column holds numbers, but for a few cells."""
    found = _sample_numbers(table, column)
    return found is not None and len(found) > 1


def counts_rows(table: FileTable, column: str) -> bool:
    """Return whether a column of whole numbers rises by one from each row to the next."""
    cells = [record.values.get(column) for record in table.records[: column_names.SAMPLE_ROWS]]
    read = [read_number(cell, find_style([], decimal="point")) for cell in cells]
    return (
        len(read) > 2
        and not any(fault for _, fault in read)
        and all(after == before + 1 for (before, _), (after, _) in zip(read, read[1:], strict=False))
    )


def _sample_numbers(table: FileTable, column: str, *, most: int = column_names.SAMPLE_ROWS) -> list[float] | None:
    """Return the numbers of some rows of a column; None if it holds something else. `most`: about as many rows at most."""
    sample = table.records[:: max(1, len(table.records) // most)]
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


def describe_numbers(table: FileTable, column: str, *, file: str) -> tuple[bool, str] | None:
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
        if is_rating and values[0] in (0, 1):
            plain = column.casefold() in CLASS_NAMES and values[0] == 0
            change = "" if plain else "; --task regression predicts a number instead"
            return False, f"{column!r} has the {count} whole numbers from {low} to {high}{change}"
        if count >= FEW_RATINGS[0] and column.casefold().strip() in NUMBER_NAMES:
            return False, f"{column!r} has {count} different whole numbers; --task regression predicts a number instead"
        return False, ""
    said = f"{column!r} has {count:,} different whole numbers from {low} to {high}"
    if names := _find_names_of_classes(table, column):
        return False, f"{said}, of which {names!r} has the names"
    verdict = _tell_whole_numbers(table, column, values, num_rows=len(numbers))
    if verdict == "unclear":
        raise base.bad_file(
            f"{said}, which may be amounts or numbered classes", file, "--task regression, or --task text-classification"
        )
    return verdict == "amounts", said


def describe_number_of_text(table: FileTable, column: str) -> str:
    """Return what was seen of a column whose numbers may only be known of each text, such as its year; nothing if not.

    A name such as `review_score`, decimals, and numbers such as those of classes say that it is to be learnt.
    """
    values = sorted(set(_sample_numbers(table, column) or []))
    words = set(re.split(r"[\W_]+", column.casefold()))
    small = len(values) <= MOST_CLASSES and all(abs(value) <= MOST_CLASSES for value in values)
    if small or words & _SCORE_WORDS or any(not value.is_integer() for value in values):
        return ""
    return f"{column!r} has {len(values):,} different whole numbers from {write_number(values[0])} to {write_number(values[-1])}"


def _tell_whole_numbers(
    table: FileTable, column: str, values: Sequence[float], *, num_rows: int
) -> Literal["amounts", "classes", "unclear"]:
    """Return what many different whole numbers are. `values`: those of a sample of `num_rows` rows, in order."""
    name = column.casefold().strip()
    if name in NUMBER_NAMES[:-2]:
        return "amounts"
    of_classes = name in CLASS_NAMES or name.endswith(_CLASS_ENDINGS)
    if of_classes and num_rows < len(table.records):  # a sample may lack some classes
        numbers = _sample_numbers(table, column, most=len(table.records)) or []
        values, num_rows = sorted(set(numbers)), len(numbers)
    without_gaps = values[-1] - values[0] + 1 == len(values) and values[0] in (0, 1)
    is_repeated = num_rows >= ROWS_PER_CLASS * len(values)
    if without_gaps and is_repeated:
        return "classes" if of_classes else "unclear"
    if of_classes or name in NUMBER_NAMES:
        return "unclear" if num_rows >= _LEAST_PER_CLASS * len(values) else "amounts"
    return "amounts"


def _find_names_of_classes(table: FileTable, column: str) -> str:
    """Return the column that has a name for each number of another one, as `label_text` has for `label`; nothing without one."""
    folded = {name.casefold().strip(): name for name in table.columns if name != column}
    for other in (folded[name] for name in _NAMES_OF_CLASSES if name in folded):
        pairs = {(str(record.values.get(column)), str(record.values.get(other))) for record in table.records}
        numbers, named = ({pair[place] for pair in pairs} for place in (0, 1))
        if len(pairs) == len(numbers) == len(named) < len(table.records) and not holds_numbers(table, other):
            return other
    return ""


def measure_values(rows: Sequence[Example]) -> Mapping[str, Any]:
    """Return mean and standard deviation of the rows' values in float64, and their smallest and largest value."""
    values = np.array([value_of(row) for row in rows], dtype=np.float64)
    return {"mean": float(values.mean()), "std": float(values.std()), "low": float(values.min()), "high": float(values.max())}


def value_of(row: Example) -> float:
    """Return the number of a row, or of a line of predictions, which has it as text."""
    return row.value if isinstance(row, NumberRow) else float(row.label)
