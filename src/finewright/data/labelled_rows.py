"""Rows of a table that have a text and a label."""

from dataclasses import dataclass, replace
from typing import Any

from finewright.core.config import DataConfig
from finewright.data import labels
from finewright.data.columns import Columns, choose_columns
from finewright.data.readers import base
from finewright.data.readers.base import FileTable, Record
from finewright.data.splits import Example
from finewright.data.text_pairs import TextPair, joined_text

_BLANK = "".join(map(chr, [*range(9, 14), 0x20, 0x85, 0xA0, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD]))
"""White space and characters that nothing shows of."""


@dataclass(frozen=True)
class LabelledRows:
    """The rows of one table that have a text and a label. `records`: the whole row of each, `table`: where they come from."""

    rows: list[Example]
    records: list[Record]
    table: FileTable
    columns: Columns
    notes: list[str]


def read_labelled_rows(table: FileTable, *, options: DataConfig, file: str) -> LabelledRows:
    """Return the rows with a text and a label."""
    if not table.records:
        raise base.bad_file("no rows", file, "a header alone is not enough; add rows")
    columns = choose_columns(table, options, file=file)
    _refuse_lists(table, columns.label, file=file)
    if not table.format.suffix and not options.merge_similar_labels:  # in a file, the type is how somebody wrote it
        _refuse_two_types(table, columns.label)
    notes = [*table.notes, *columns.notes]
    rows, records, faults = [], [], []
    names: dict[str, str] = {}  # one string for all rows of a label
    num_spaced = 0
    for record in table.records:
        value = record.values.get(columns.label)
        text, text_fault = read_text(record, columns, options)
        label, label_fault = labels.read_label(value)
        label_fault = label_fault or find_encoding_fault(label, kind="label")
        num_spaced += isinstance(value, str) and value != label != ""
        if text_fault or label_fault:
            faults.append(f"{record.where}: {', '.join(filter(None, (text_fault, label_fault)))}")
        else:
            rows.append(Example(text, names.setdefault(label, label), record.where, pair=read_pair(record, columns)))
            records.append(record)
    notes += base.drop_faulty_rows(faults, skip=options.skip_invalid_rows)
    if num_spaced:
        notes.append(f"{file}: {num_spaced:,} label{'' if num_spaced == 1 else 's'} had spaces around, which were removed")
    if whole := labels.find_whole_numbers(names):
        rows = [replace(row, label=whole.get(row.label, row.label)) for row in rows]
        notes.append(
            f"{file}: labels such as {next(iter(whole))!r} are whole numbers, and are read as {next(iter(whole.values()))!r}"
        )
    return LabelledRows(rows, records, table, columns, notes)


def _refuse_lists(table: FileTable, column: str, *, file: str) -> None:
    """Raise one `UserError` if most labels are lists; a few are faults of their rows."""
    lists = [record for record in table.records if isinstance(record.values.get(column), list | tuple | dict)]
    if 2 * len(lists) > len(table.records):
        shown = (
            f"{len(lists):,} of {len(table.records):,} rows have a list in {column!r}, such as {lists[0].values[column]!r:.60}"
        )
        fix = "--task multi-label-classification learns several labels per text; or take another --label-column"
        raise base.bad_file(f"several labels per text: {shown}", lists[0].where, fix)


def _refuse_two_types(table: FileTable, column: str) -> None:
    """Raise `UserError` if a label is text in one row and a number or a truth value in another: one of the two is a mistake."""
    known: dict[tuple[str, bool], Record] = {}
    for record in table.records:
        value = record.values.get(column)
        label, is_text = labels.read_label(value)[0], isinstance(value, str)
        name = label.casefold() if label.casefold() in ("true", "false") else label
        known.setdefault((name, is_text), record)
        if label and (other := known.get((name, not is_text))):
            one = known[name, is_text]
            first, second = (f"{found.values[column]!r} ({found.where})" for found in (other, one))
            what = f"the labels {first} and {second} differ only in type"
            raise base.bad_file(what, "data", "give all labels in one type, or set data.merge_similar_labels")


def read_text(record: Record, columns: Columns, options: DataConfig) -> tuple[str, str]:
    """Return (text, fault) of a row. The text is empty if there is none, and not if it is damaged.

    That of a pair is the two as one (`read_pair` has them apart); it is empty if one of them is.
    """
    if len(columns.texts) == 1:
        return _read_cell(record.values.get(columns.texts[0]))
    parts = [_read_cell(record.values.get(name)) for name in columns.texts]
    fault = next((fault for text, fault in parts if fault and text), "")
    if columns.form == "pair":
        empty = [name for name, (text, _) in zip(columns.texts, parts, strict=True) if not text]
        if empty:
            return "", "both texts of the pair are empty" if len(empty) == 2 else f"the text in {empty[0]!r} is empty"
        return joined_text(TextPair(parts[0][0], parts[1][0])), fault
    fault = fault or ("the text is empty" if not any(text for text, _ in parts) else "")
    named = [
        (f"{name.strip()}: " if columns.form == "named" else "", text)
        for name, (text, _) in zip(columns.texts, parts, strict=True)
    ]
    return options.text_separator.join(start + text for start, text in named if text), fault


def read_pair(record: Record, columns: Columns) -> TextPair | None:
    """Return the two texts of a row without faults; None if its columns are no pair."""
    if columns.form != "pair":
        return None
    first, second = (_read_cell(record.values.get(name))[0] for name in columns.texts)
    return TextPair(first, second)


def _read_cell(value: Any) -> tuple[str, str]:
    """Return (text, fault). Numbers are texts, as they are in files that have no types."""
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, int | float) and value == value:
        value = str(int(value) if float(value).is_integer() and abs(value) < 2**53 else value)
    if not isinstance(value, str):
        return "", "no text" if value is None or value != value else f"wanted text, found {type(value).__name__}"
    return ("", "the text is empty") if is_blank(value) else (str(value), find_encoding_fault(value, kind="text"))


def is_blank(text: str) -> bool:
    """Return whether nothing of a text shows."""
    return not (text.strip(_BLANK) and text.strip())


def find_encoding_fault(value: str, *, kind: str) -> str:
    if "\x00" in value:
        return f"a NUL character in the {kind}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"half of a surrogate pair: the {kind} was cut inside a character"
    return ""
