"""Labelled texts from files and hub data sets: columns, labels, splits."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from finewright.core.config import DataConfig
from finewright.core.units import counted
from finewright.data import (
    conversation_shapes,
    labels,
    multi_label_rows,
    multi_label_splits,
    number_rows,
    pair_splits,
    preferences,
    readers,
    source_tables,
    splits,
    text_columns,
)
from finewright.data.columns import NO_COLUMNS, Columns, choose_columns, reuse_columns
from finewright.data.conversation_shapes import RowKind
from finewright.data.label_lists import LIST
from finewright.data.labelled_rows import LabelledRows, is_blank, read_labelled_rows, read_pair, read_text
from finewright.data.readers import base
from finewright.data.readers.base import TEXT_NAMES, FileTable, ReadOptions
from finewright.data.row_kinds import detect_row_kind, how_to_read, read_row_kind
from finewright.data.source_tables import Source, SourceTables, TableReading, find_existing, find_local, shown_name
from finewright.data.splits import Example
from finewright.data.tagged_rows import read_tagged_rows
from finewright.data.text_pairs import TextInput
from finewright.data.word_rows import group_words

__all__ = [
    "Dataset",
    "DatasetCache",
    "LabelledRows",
    "Source",
    "check_known_labels",
    "detect_row_kind",
    "find_existing",
    "find_local",
    "find_texts",
    "is_blank",
    "read_dataset",
    "read_prompts",
    "read_rows",
    "read_rows_for_model",
    "read_table",
    "read_text",
    "shown_name",
]


@dataclass(frozen=True)
class Dataset:
    """`labels`: of training, in order; integers by size. `fingerprint`: SHA-256 of split and content of all rows in order.

    `columns`: those that the training rows were read from. `trains_on_all`: so few rows that none is held out to validate.
    `row_kind`: what the rows are; those of the kind "conversation" are `Conversation`s, without labels.
    `held_out`: how each split was held out that the source has not.
    """

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    labels: tuple[str, ...]
    label_kind: Literal["text", "integer", "boolean"]
    notes: list[str]
    fingerprint: str
    columns: Columns = NO_COLUMNS
    trains_on_all: bool = False
    row_kind: RowKind = "labelled"
    held_out: tuple[str, ...] = ()

    @property
    def has_label_sets(self) -> bool:
        """Whether each row has any number of labels, also none."""
        return self.row_kind == "multi-label"


class DatasetCache:
    """Data sets and token ids that several runs share. Do not change what it returns."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str, DataConfig, RowKind], Dataset] = {}
        self._tables: dict[tuple[str, DataConfig], tuple[RowKind, SourceTables]] = {}
        self._ids: dict[str, dict[str, list[int]]] = {}
        self._read_seconds = 0.0

    def read(self, source: Source, *, options: DataConfig, test: Source | None = None, row_kind: RowKind = "labelled") -> Dataset:
        """Return `read_dataset`, read once for each source."""
        key = (str(source), str(test or ""), options, row_kind)
        if key not in self._datasets:
            began = time.monotonic()
            kind, tables = self._tables.pop((str(source), options), (row_kind, None))
            tables = tables if kind == row_kind else None
            self._datasets[key] = _build_dataset(source, options=options, test=test, row_kind=row_kind, tables=tables)
            self._read_seconds += time.monotonic() - began
        return self._datasets[key]

    def detect_row_kind(self, source: Source, *, options: DataConfig) -> tuple[RowKind, str]:
        """Return `detect_row_kind`; what it reads is kept for `read`. Of rows that were read before there is no reason."""
        known = next((kind for name, _, read, kind in self._datasets if (name, read) == (str(source), options)), None)
        if known is not None:
            return known, ""
        began = time.monotonic()
        kind, reason, tables = read_row_kind(source, options=options)
        if tables is not None:
            self._tables[str(source), options] = kind, tables
        self._read_seconds += time.monotonic() - began
        return kind, reason

    def take_read_seconds(self) -> float:
        """Return how long reading took since the last call: a run counts what its caller read for it."""
        seconds, self._read_seconds = self._read_seconds, 0.0
        return seconds

    def ids(self, model: str) -> dict[str, list[int]]:
        """Return the uncut token ids of every text that a model's tokenizer has seen; `encode_texts` reads and fills them."""
        return self._ids.setdefault(model, {})


_MOST_LABELS = 10
"""Labels that a message names."""


_Rows = tuple[list[Example], list[str], Columns]
"""Rows of one table, notes, and the columns that they were read from."""
_Splits = tuple[dict[str, list[Example]], list[str], Columns]
"""Rows by split, notes, and the columns of the training rows."""
_STRATIFIED: tuple[RowKind, ...] = ("labelled", "multi-label", "number", "tagged-tokens")
"""Kinds of rows that splits take an even share of by `Example.stratum`."""
MOST_HELD_OUT = {"test": 500, "validation": 200}
"""Conversations that are held out at most: an evaluation reads every token of them, and more would tell little more."""


def read_dataset(source: Source, *, options: DataConfig, test: Source | None = None, row_kind: RowKind = "labelled") -> Dataset:
    """Read the rows of a file, a folder with splits, a hub id or memory, and hold out the splits that are missing.

    Labelled texts are held out stratified by label; conversations by chance, all of one prompt in the same split, and at most
    `MOST_HELD_OUT`.
    """
    return _build_dataset(source, options=options, test=test, row_kind=row_kind)


def _build_dataset(
    source: Source, *, options: DataConfig, test: Source | None, row_kind: RowKind, tables: SourceTables | None = None
) -> Dataset:
    rows, notes, columns = _read_splits(source, options=options, test=test, row_kind=row_kind, tables=tables)
    if row_kind != "labelled" and "train" in rows and not rows["train"]:
        raise base.bad_file("no row is left to train on", str(source), "correct the rows that are named in the notes")
    if "train" not in rows:
        raise base.bad_file(f"no rows to train on, only {' and '.join(rows)} rows", str(source), "give them under `train`")
    _refuse_mixed(rows, str(source))
    merge = {"labelled": labels.merge_similar_labels, "multi-label": multi_label_rows.merge_similar}.get(row_kind)
    if options.merge_similar_labels and merge is not None:
        rows, more = merge(rows)
        notes += more
    held_out = _hold_out_missing(rows, options, row_kind)
    notes += held_out
    trains_on_all = options.validation_fraction is None and not rows["validation"]
    names, kind = labels.sort_labels({label for row in rows["train"] for label in row.own_labels()})
    notes += _fit_held_out_labels(rows, names, options, row_kind)
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        for row in rows[name]:
            digest.update(row.fingerprint_text(name).encode("utf-8", "surrogatepass"))
    unique = list(dict.fromkeys(notes))  # files of one folder give the same notes
    columns = replace(columns, notes=())
    parts = (rows["train"], rows["validation"], rows["test"])
    return Dataset(*parts, names, kind, unique, digest.hexdigest(), columns, trains_on_all, row_kind, tuple(held_out))


def _refuse_mixed(rows: dict[str, list[Example]], source: str) -> None:
    """Raise `UserError` if some splits are pairs of texts and others are single texts."""
    found = {name: part[0].pair is not None for name, part in rows.items() if part}
    if len(set(found.values())) > 1:
        pairs, single = (" and ".join(name for name, is_pair in found.items() if is_pair == wanted) for wanted in (True, False))
        what = f"the rows of {pairs} are pairs of texts, those of {single} single texts"
        raise base.bad_file(what, source, "give all splits the same columns")


def _fit_held_out_labels(
    rows: dict[str, list[Example]], names: tuple[str, ...], options: DataConfig, row_kind: RowKind
) -> list[str]:
    """Spell the labels of held-out rows as those of training, and leave unseen ones out if that is wanted; return notes."""
    notes: list[str] = []
    if row_kind == "labelled":
        for name in ("validation", "test"):
            rows[name] = labels.spell_truth_values(rows[name], names)
        if options.drop_unseen_labels:
            notes += _drop_unseen_labels(rows, names)
    if row_kind == "multi-label" and options.drop_unseen_labels:
        for name in ("validation", "test"):
            rows[name], unseen = multi_label_rows.drop_unseen(rows[name], names)
            notes += [f"labels unseen in training are left out of the {name} rows: {', '.join(unseen[:5])}"] if unseen else []
    return notes


def _hold_out_missing(rows: dict[str, list[Example]], options: DataConfig, row_kind: RowKind) -> list[str]:
    """Take the splits that are missing out of the training rows; return notes."""
    notes, seed, stratified = [], options.split_seed, row_kind in _STRATIFIED
    several = row_kind == "multi-label"
    by_row = multi_label_splits.hold_out_iteratively if several else splits.hold_out
    hold_out = partial(pair_splits.hold_out_pairs, by_row=by_row)
    hold_out_validation = multi_label_splits.hold_out_validation_iteratively if several else splits.hold_out_validation
    if not rows.get("test"):
        fraction = options.test_fraction
        rows["train"], rows["test"], note = (
            hold_out(rows["train"], fraction, seed=seed, name="test")
            if stratified
            else splits.hold_out_by_chance(rows["train"], fraction, seed=seed, name="test", most=MOST_HELD_OUT["test"])
        )
        notes.append(note)
    if not rows.get("validation"):
        share = options.validation_fraction
        rows["train"], rows["validation"], note = (
            hold_out_validation(rows["train"], share, seed=seed, hold_out=hold_out)
            if stratified
            else splits.hold_out_validation_by_chance(rows["train"], share, seed=seed, most=MOST_HELD_OUT["validation"])
        )
        notes.append(note)
    return notes


def read_rows(source: Source, *, options: DataConfig, row_kind: RowKind = "labelled") -> tuple[list[Example], list[str]]:
    """Return the rows of one file or of a table in memory, and notes."""
    table, file = source_tables.read_one_table(source, how_to_read(options, row_kind), options=options)
    rows, notes, _ = _READ_TABLE[row_kind](table, options=options, file=file)
    return rows, notes


def read_prompts(source: Source, *, options: DataConfig, as_messages: bool) -> LabelledRows:
    """Return the rows of one file or of a table in memory to generate answers for; they need no answers.

    `as_messages`: plain texts are messages of a user, not texts to go on with.
    """
    table, file = source_tables.read_one_table(source, how_to_read(options, "conversation"), options=options)
    found = conversation_shapes.read_conversations(table, options=options, file=file, answers=False)
    rows = [conversation_shapes.as_prompt(row, options) for row in found.rows] if as_messages else found.rows
    by_place = {record.where: record for record in table.records}
    return LabelledRows([*rows], [by_place[row.where] for row in rows], table, found.columns, found.notes)


def read_rows_for_model(source: Source, *, options: DataConfig, trained: Columns, labels: Sequence[str]) -> LabelledRows:
    """Return the labelled rows of one file or of a table in memory with all their columns, to evaluate a model on them.

    Parameters
    ----------
    options
        Columns that are given go before those of training. Labels are merged or left out as the options say.
    trained
        Columns that the model's training rows were read from.
    labels
        Labels that the model knows; empty if the task has none.

    Raises
    ------
    UserError
        If a row has no text or no label, or one that the model does not know.
    """
    table, file = source_tables.read_one_table(source, TableReading(), options=options)
    options, notes = reuse_columns(table, options, trained, file=file)
    found = read_labelled_rows(table, options=options, file=file)
    if not found.rows:
        raise base.bad_file("no row has a text and a label", file, "add rows, or name the columns")
    return _fit_labels(replace(found, notes=[*notes, *found.notes]), labels, options) if labels else found


def read_multi_label_rows_for_model(
    source: Source, *, options: DataConfig, trained: Columns, labels: Sequence[str]
) -> LabelledRows:
    """Return `read_rows_for_model` of rows that have any number of labels each."""
    table, file = source_tables.read_one_table(source, TableReading(), options=options)
    options, notes = reuse_columns(table, options, trained, file=file)
    found = multi_label_rows.read_multi_label_rows(table, options=options, file=file, trained=trained, known=labels)
    if not found.rows:
        raise base.bad_file("no row has a text", file, "add rows, or name the columns")
    return multi_label_rows.fit_labels(replace(found, notes=[*notes, *found.notes]), labels, options)


def read_unlabelled_rows_for_model(
    source: Source, *, options: DataConfig, row_kind: RowKind, trained: Columns = NO_COLUMNS
) -> LabelledRows:
    """Return the rows of one file or of a table in memory with all their columns, to evaluate a model on them that has no
    classes. `trained`: columns of the training rows, which are used again where the table has them.

    Raises
    ------
    UserError
        If the columns are those of no such rows, or a row has faults.
    """
    table, file = source_tables.read_one_table(source, how_to_read(options, row_kind), options=options)
    more: list[str] = []
    if row_kind == "number":
        options, more = reuse_columns(table, options, trained, file=file)
        options = number_rows.with_trained_style(table, options, trained, file=file)
    rows, notes, columns = _READ_TABLE[row_kind](table, options=options, file=file)
    by_place = {record.where: record for record in table.records}
    return LabelledRows(rows, [by_place[row.where] for row in rows], table, columns, [*more, *notes])


def _fit_labels(found: LabelledRows, known: Sequence[str], options: DataConfig) -> LabelledRows:
    """Merge labels and leave rows out as the options say; raise `UserError` for labels that are still unknown."""
    rows, records, notes = labels.spell_truth_values(found.rows, known), found.records, list(found.notes)
    if options.merge_similar_labels:
        merged, more = labels.merge_similar_labels({"test": rows}, known=known)
        rows, notes = merged["test"], [*notes, *more]
    if options.drop_unseen_labels:
        chosen = [place for place, row in enumerate(rows) if row.label in set(known)]
        unseen = sorted({row.label for row in rows} - set(known))
        if unseen:
            notes.append(f"{len(rows) - len(chosen):,} of {len(rows):,} rows left out: labels unseen in training {_list(unseen)}")
        rows, records = [rows[place] for place in chosen], [records[place] for place in chosen]
        if not rows:
            raise base.bad_file("no row has a label that the model knows", "data", f"its labels are {', '.join(known[:20])}")
    check_known_labels(rows, known)
    return replace(found, rows=rows, records=records, notes=notes)


def _list(names: Sequence[str]) -> str:
    return f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''})"


def read_table(source: str | Path, *, options: DataConfig | None = None, text_names: Collection[str] = ()) -> FileTable:
    """Return all rows and columns of one file as they are, to label them and to write them again.

    Blank lines between rows are rows without a text. Cells may be empty. `notes` says what was found out about the file,
    `format` how it is written, `Record.where` the place of each row.

    Parameters
    ----------
    source
        A table or a file with one text a line, packed or not, a pipe, or `-` for standard input.
    options
        Format, encoding and header where they shall not be found out, and the text column.
    text_names
        Further names of text columns: a `.txt` file with one of them in its first row is a table.

    Raises
    ------
    UserError
        If the file cannot be read. It names file and line.
    """
    options = options or DataConfig()
    path = find_existing(source)
    how = ReadOptions(encoding=options.encoding, no_header=options.no_header, keep_blank=True)
    with source_tables.reading(path):
        table = group_words(readers.read_file(path, how, form=options.format, texts=(*_text_names(options), *text_names)))
    table.notes[:0] = source_tables.describe_packaged(source)
    return table


def find_texts(
    table: FileTable, *, options: DataConfig | None = None, file: str = "data"
) -> tuple[list[TextInput | None], list[str]]:
    """Return the text or pair of texts of each row, None where there is none that a model could read, and notes for the user.

    Raises
    ------
    UserError
        If the columns of the text are not told, or a text is damaged: it names the row.
    """
    options = options or DataConfig()
    columns = choose_columns(table, options, file=file, label=False)
    read = [(record.where, *read_text(record, columns, options)) for record in table.records]
    faults = [f"{where}: {fault}" for where, text, fault in read if fault and text]
    if faults:
        raise base.combine_faults(faults, "correct these rows, or leave them out")
    texts = [
        None if fault else read_pair(record, columns) or text
        for record, (_, text, fault) in zip(table.records, read, strict=True)
    ]
    return texts, list(columns.notes)


def _text_names(options: DataConfig) -> tuple[str, ...]:
    given = options.text_column or TEXT_NAMES
    return (given,) if isinstance(given, str) else given


def _read_splits(
    source: Source, *, options: DataConfig, test: Source | None, row_kind: RowKind, tables: SourceTables | None
) -> _Splits:
    """Return rows by split, notes, and the columns of the training rows. `tables`: of the source, if they were read before."""
    read = tables or source_tables.read_tables(source, how_to_read(options, row_kind), options=options)
    parts = {split: (table, read.name_of(split)) for split, table in read.tables.items()}
    rows: dict[str, list[Example]] = {}
    notes = list(read.notes)
    if test is not None:
        own = f"the data's own test rows ({len(parts['test'][0].records):,}) are replaced by {test}" if "test" in parts else ""
        notes += [own] if own else []
        parts["test"] = source_tables.read_one_table(test, how_to_read(options, row_kind), options=options)
    if row_kind == "number":
        options = number_rows.with_one_style([table for table, _ in parts.values()], options, file=str(source))
    columns = NO_COLUMNS
    for split in sorted(parts, key=lambda name: name != "train"):
        table, file = parts[split]
        given = _read_alike(table, options, row_kind, trained=columns)
        rows[split], more, used = _READ_TABLE[row_kind](table, options=given, file=file)
        notes += more
        columns = used if split == "train" else columns
    return rows, notes, columns


def _read_alike(table: FileTable, options: DataConfig, row_kind: RowKind, *, trained: Columns) -> DataConfig:
    """Return the options by which rows are read from the same columns as those of training, where they could be taken for others.

    A few rows alone do not tell what separates labels, or which column was guessed. `trained`: columns of the training rows.
    """
    if not trained.texts or row_kind not in ("labelled", "multi-label", "number"):
        return options
    changes: dict[str, str | tuple[str, ...]] = {}
    is_unclear = len(trained.texts) == 1 or text_columns.ANSWER in trained.texts
    if options.text_column is None and is_unclear and all(name in table.columns for name in trained.texts):
        changes["text_column"] = trained.texts if len(trained.texts) > 1 else trained.texts[0]
    names = trained.label.split(",") if trained.label not in table.columns else [trained.label]
    if options.label_column is None and trained.label and all(name in table.columns for name in names):
        changes["label_column"] = trained.label
    if options.label_separator is None and trained.label_separator not in ("", LIST):
        changes["label_separator"] = trained.label_separator
    return options.model_copy(update=changes)


def _read_labelled(table: FileTable, *, options: DataConfig, file: str) -> _Rows:
    found = read_labelled_rows(table, options=options, file=file)
    return found.rows, found.notes, found.columns


def _read_conversations(table: FileTable, *, options: DataConfig, file: str) -> _Rows:
    found = conversation_shapes.read_conversations(table, options=options, file=file)
    return [*found.rows], found.notes, found.columns


def _read_numbers(table: FileTable, *, options: DataConfig, file: str) -> _Rows:
    found = number_rows.read_number_rows(table, options=options, file=file)
    return found.rows, found.notes, found.columns


def _read_preferences(table: FileTable, *, options: DataConfig, file: str) -> _Rows:
    found = preferences.read_preferences(table, options=options, file=file)
    return [*found.rows], found.notes, found.columns


def _read_multi_label(table: FileTable, *, options: DataConfig, file: str) -> _Rows:
    found = multi_label_rows.read_multi_label_rows(table, options=options, file=file)
    return found.rows, found.notes, found.columns


def _read_tagged_tokens(table: FileTable, *, options: DataConfig, file: str) -> _Rows:
    found = read_tagged_rows(table, options=options, file=file)
    return found.rows, found.notes, found.columns


_READ_TABLE: dict[RowKind, Callable[..., _Rows]] = {
    "labelled": _read_labelled,
    "multi-label": _read_multi_label,
    "conversation": _read_conversations,
    "preference": _read_preferences,
    "number": _read_numbers,
    "tagged-tokens": _read_tagged_tokens,
}
"""By kind, what makes rows of a table."""


def _drop_unseen_labels(splits: dict[str, list[Example]], labels: tuple[str, ...]) -> list[str]:
    notes, known = [], set(labels)
    for name in ("validation", "test"):
        unseen = [row.label for row in splits[name] if row.label not in known]
        if unseen:
            listed = ", ".join(sorted(set(unseen))[:5])
            notes.append(f"{counted(len(unseen), f'{name} row')} left out: labels unseen in training ({listed})")
            splits[name] = [row for row in splits[name] if row.label in known]
    return notes


def check_known_labels(rows: Sequence[Example], labels: Sequence[str]) -> None:
    """Raise `UserError` that counts the labels of rows that are not among `labels`."""
    known = set(labels)
    unknown = [row for row in rows if row.label not in known]
    if not unknown:
        return
    counts = Counter(row.label for row in unknown).most_common()
    what = f"the model does not know the label {counts[0][0]!r}"
    if len(unknown) > 1:
        listed = ", ".join(f"{label!r:.60} ({count:,})" for label, count in counts[:_MOST_LABELS])
        more = f" and {len(counts) - _MOST_LABELS:,} more" if len(counts) > _MOST_LABELS else ""
        what = f"{len(unknown):,} of {len(rows):,} rows, from here on, have labels that the model does not know: {listed}{more}"
    shown = f"{', '.join(labels[:_MOST_LABELS])}{', …' if len(labels) > _MOST_LABELS else ''}"
    fix = f"its labels are {shown}; --set data.drop_unseen_labels=true leaves these rows out"
    raise base.bad_file(what, unknown[0].where, fix)
