"""Rows of a table that have a text and any number of labels: in a list, in one cell, or one column of yes or no for each."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finewright.core.config import DataConfig
from finewright.core.units import counted
from finewright.data import columns as column_names
from finewright.data.columns import Columns
from finewright.data.label_lists import LIST, read_labels, tell_label_lists
from finewright.data.labelled_rows import LabelledRows, find_encoding_fault, read_pair, read_text
from finewright.data.labels import find_similar_labels
from finewright.data.readers.base import LABEL_NAMES, FileTable, Record, bad_file, drop_faulty_rows
from finewright.data.splits import Example

JOINER = "|"
"""Between the labels of a row where they are shown as one text."""
MORE_NAMES = ("tags", "topics", "categories", "genres", "label_names")
"""Usual names of columns with several labels, besides those of one label."""
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false", "")
_LISTED = 20


@dataclass(frozen=True, slots=True)
class MultiLabelExample(Example):
    """A text with its labels, by name; `label` is all of them as one text."""

    labels: tuple[str, ...] = ()

    def own_labels(self) -> tuple[str, ...]:
        """Return the labels of the row."""
        return self.labels

    def contents(self) -> str:
        """Return all that a model learns from the row, for the fingerprint of a run."""
        return f"{len(self.text)}:{self.text}{json.dumps(self.labels)}{self._pair_boundary()}"

    def fingerprint_text(self, split: str) -> str:
        """Return all that the row adds to the fingerprint of its data set."""
        return f"{split}\0{self.text}\0{json.dumps(self.labels)}{self._pair_boundary()}\n"


def join_labels(labels: Sequence[str]) -> str:
    """Return the labels of a row as one text."""
    return JOINER.join(labels)


def make_row(text: str, labels: Sequence[str], where: str, *, pair: tuple[str, str] | None = None) -> MultiLabelExample:
    """Return the row of a text with these labels."""
    return MultiLabelExample(text, join_labels(labels), where, tuple(labels), pair=pair)


def labels_of(row: Example) -> tuple[str, ...]:
    """Return the labels of a row of a data set with several labels per text."""
    assert isinstance(row, MultiLabelExample), "the rows were read for this task"
    return row.labels


def find_label_columns(table: FileTable, options: DataConfig, *, file: str) -> tuple[str, ...]:
    """Return the column of labels, or the columns of yes or no of one label each; nothing if none is told.

    Raises
    ------
    UserError
        If a column that the options name is not there.
    """
    wanted = options.label_column
    if wanted is not None:
        if found := column_names.resolve_column(table, wanted, file=file):
            return (found,)
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        resolved = [column_names.resolve_column(table, name, file=file) for name in names]
        if len(names) > 1 and all(resolved):
            return tuple(dict.fromkeys(resolved))
        missing = [name for name, one in zip(names, resolved, strict=True) if not one] or [wanted]
        listed = ", ".join(table.columns[:_LISTED])
        raise bad_file(f"no column {missing[0]!r}; the columns are {listed}", file, "--label-column NAME, or NAME,NAME,…")
    usual = [one for name in (*LABEL_NAMES, *MORE_NAMES) for one in column_names.find_usual(table, [name], file=file)]
    lists = [name for name in usual if any(isinstance(record.values.get(name), list | tuple) for record in table.records)]
    return tuple((lists or usual)[:1]) or tuple(column_names.find_flags(table, options))


def read_multi_label_rows(
    table: FileTable, *, options: DataConfig, file: str, trained: Columns | None = None, known: Collection[str] = ()
) -> LabelledRows:
    """Return the rows with a text and their labels; a row without any label is one too.

    Parameters
    ----------
    trained
        Columns of the training rows, whose separator holds for other rows too.
    known
        Labels of a model: its columns of yes or no are looked for, and a cell that is one of them is one label.

    Raises
    ------
    UserError
        If no column of labels is told, or rows have faults: it names file and row.
    """
    if not table.records:
        raise bad_file("no rows", file, "a header alone is not enough; add rows")
    labels = find_label_columns(table, options, file=file)
    if known and options.label_column is None and len(own := [name for name in table.columns if name in known]) > 1:
        labels = tuple(own)
    if not labels:
        fix = "--label-column NAME for a column of labels, --label-column a,b,c for one column of 0 and 1 for each label"
        raise bad_file(f"no column of labels; the columns are {', '.join(table.columns[:_LISTED])}", file, fix)
    columns = _choose_texts(table, options, labels, file=file)
    flags = labels if _are_flags(table, labels, known=known) else ()
    separator = "" if flags else _choose_separator(table, options, labels[0], trained=trained)
    if separator == LIST:
        _refuse_indicators(table, labels[0])
    rows, records, faults = [], [], []
    for record in table.records:
        text, text_fault = read_text(record, columns, options)
        own_labels, fault = _read_flags(record, flags) if flags else _read_cell(record, labels[0], separator, known)
        fault = fault or next((one for label in own_labels if (one := find_encoding_fault(label, kind="label"))), "")
        if text_fault or fault:
            faults.append(f"{record.where}: {', '.join(filter(None, (text_fault, fault)))}")
        else:
            rows.append(make_row(text, own_labels, record.where, pair=read_pair(record, columns)))
            records.append(record)
    dropped = drop_faulty_rows(faults, skip=options.skip_invalid_rows)
    notes = [*table.notes, *columns.notes, _describe_labels(file, labels, flags=flags, separator=separator)]
    notes += dropped
    if num_none := sum(not row.labels for row in rows):
        have = (
            "1 row has no label: it counts as a text"
            if num_none == 1
            else f"{num_none:,} rows have no label: they count as texts"
        )
        notes.append(f"{file}: {have} that none of the labels is right for")
    found = Columns(columns.texts, ",".join(labels), form=columns.form, label_separator=separator)
    return LabelledRows([*rows], records, table, found, notes)


def _choose_texts(table: FileTable, options: DataConfig, labels: Sequence[str], *, file: str) -> Columns:
    """Return the text columns of a table, without those of the labels."""
    others = tuple(name for name in table.columns if name not in labels)
    given = options.model_copy(update={"label_column": None})
    return column_names.choose_columns(replace(table, columns=others), given, file=file, label=False)


def _are_flags(table: FileTable, labels: Sequence[str], *, known: Collection[str]) -> bool:
    """Whether each column says yes or no of the label that it is named after. One alone may also be a column of single labels."""
    return len(labels) > 1 or (labels[0] in known and column_names.holds_truth(table, labels[0]))


def _choose_separator(table: FileTable, options: DataConfig, column: str, *, trained: Columns | None) -> str:
    if options.label_separator is not None:
        return options.label_separator
    told = tell_label_lists([record.values.get(column) for record in table.records], column=column)
    if told.separator == LIST or trained is None or not trained.label_separator:
        return told.separator
    return trained.label_separator


def _refuse_indicators(table: FileTable, column: str) -> None:
    """Raise `UserError` if the lists are rows of a matrix of 0 and 1: their members would be the labels 0 and 1."""
    cells = [value for record in table.records if isinstance(value := record.values.get(column), list | tuple)]
    sizes, members = (
        {len(cell) for cell in cells},
        {member for cell in cells for member in cell if isinstance(member, int | float)},
    )
    if len(sizes) == 1 and members and members <= {0, 1} and any(len(cell) > len({*map(str, cell)}) for cell in cells):
        fix = "a table with a column of 0 and 1 for each label, or finewright.sklearn.MultiLabelTextClassifier"
        what = f"the lists in {column!r} are rows of a matrix of 0 and 1, such as {cells[0]!r:.40}, and no names of labels"
        raise bad_file(what, table.records[0].where, fix)


def _read_cell(record: Record, column: str, separator: str, known: Collection[str]) -> tuple[tuple[str, ...], str]:
    value = record.values.get(column)
    is_known = isinstance(value, str) and value.strip() in known
    labels, fault = read_labels(value, separator="" if is_known else separator)
    return labels, fault.replace("wanted one label", "wanted labels")


def _read_flags(record: Record, flags: Sequence[str]) -> tuple[tuple[str, ...], str]:
    found = []
    for name in flags:
        value = record.values.get(name)
        text = "" if value is None or value != value else str(value).strip().casefold()
        if text in _YES:
            found.append(name)
        elif text not in _NO:
            return (), f"wanted 0 or 1 in {name!r}, found {value!r:.40}"
    return tuple(sorted(found)), ""


def _describe_labels(file: str, labels: Sequence[str], *, flags: Sequence[str], separator: str) -> str:
    """Return what the labels were read from."""
    if flags:
        more = f" and {len(flags) - 5:,} more" if len(flags) > 5 else ""
        return f"{file}: a column of yes or no for each label ({', '.join(flags[:5])}{more})"
    how = {LIST: "lists", "": "one label a cell"}.get(separator, f"separated by {separator!r} (data.label_separator changes it)")
    return f"{file}: labels of {labels[0]!r}: {how}"


def merge_similar(
    splits: Mapping[str, Sequence[Example]], *, known: Collection[str] = ()
) -> tuple[dict[str, list[Example]], list[str]]:
    """Return the splits with one spelling for labels that look the same, and a note for each that changed; as
    `labels.merge_similar_labels` does for single ones."""
    everywhere = Counter(label for rows in splits.values() for row in rows for label in labels_of(row))
    counts = Counter(label for row in splits.get("train", ()) for label in labels_of(row)) or everywhere
    merged = find_similar_labels({**dict.fromkeys(everywhere, 0), **counts}, known=known)
    rows = {name: [_with_names(row, merged) for row in some] for name, some in splits.items()}
    return rows, [
        f"labels merged: {old!r} ({counted(everywhere[old], 'row')}) is now {new!r}" for old, new in sorted(merged.items())
    ]


def _with_names(row: Example, names: Mapping[str, str]) -> Example:
    own = labels_of(row)
    return _with_labels(row, {names.get(label, label) for label in own}) if any(label in names for label in own) else row


def _with_labels(row: Example, labels: Collection[str]) -> Example:
    ordered = tuple(sorted(labels))
    changes: dict[str, Any] = {"labels": ordered, "label": join_labels(ordered)}
    return replace(row, **changes)


def drop_unseen(rows: Sequence[Example], known: Collection[str]) -> tuple[list[Example], list[str]]:
    """Return the rows without labels that are not known, and those labels; the rows stay."""
    wanted = set(known)
    unseen = sorted({label for row in rows for label in labels_of(row)} - wanted)
    if not unseen:
        return list(rows), []
    return [row if wanted.issuperset(labels_of(row)) else _with_labels(row, wanted & {*labels_of(row)}) for row in rows], unseen


def fit_labels(found: LabelledRows, known: Sequence[str], options: DataConfig) -> LabelledRows:
    """Return the rows to evaluate a model on, with labels merged or left out as the options say.

    Raise `UserError` if rows have labels that the model does not know.
    """
    rows, notes = found.rows, list(found.notes)
    if options.merge_similar_labels:
        merged, more = merge_similar({"test": rows}, known=known)
        rows, notes = merged["test"], [*notes, *more]
    if options.drop_unseen_labels:
        rows, unseen = drop_unseen(rows, known)
        notes += [f"labels unseen in training are left out of the rows: {', '.join(unseen[:5])}"] if unseen else []
    check_known(rows, known)
    return replace(found, rows=rows, notes=notes)


def check_known(rows: Sequence[Example], known: Sequence[str]) -> None:
    """Raise `UserError` that counts the labels that are not among `known`."""
    wanted = set(known)
    strange = [row for row in rows if not wanted.issuperset(labels_of(row))]
    if not strange:
        return
    counts = Counter(label for row in strange for label in labels_of(row) if label not in wanted).most_common()
    listed = ", ".join(f"{label!r:.60} ({count:,})" for label, count in counts[:10])
    more = f" and {len(counts) - 10:,} more" if len(counts) > 10 else ""
    have = "this row has a label" if len(strange) == 1 else f"{len(strange):,} of {len(rows):,} rows, from here on, have labels"
    what = f"{have} that the model does not know: {listed}{more}"
    shown = f"{', '.join(known[:10])}{', …' if len(known) > 10 else ''}"
    fix = f"its labels are {shown}; --set data.drop_unseen_labels=true leaves these labels out of the rows"
    raise bad_file(what, strange[0].where, fix)
