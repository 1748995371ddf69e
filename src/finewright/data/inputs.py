"""Texts to predict, in whatever they are given: strings, a DataFrame, dicts, a file."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset, readers, source_tables, tagged_rows
from finewright.data.columns import Columns, reuse_columns
from finewright.data.readers import base
from finewright.data.readers.base import PAIR_NAMES, FileFormat, FileTable, Record
from finewright.data.tables import Table, is_pair, plain_scalar, plain_values, to_table
from finewright.data.text_pairs import TextInput, TextPair

_PAIRS_FIX = "name both columns as in training, or text and text_pair"
_IN_MEMORY_FIX = 'predict(df["NAME"]) with the column of the texts, or rename that column'


@dataclass(frozen=True)
class TextRows:
    """Rows to predict. `texts`: one, or a pair of texts, for each row of the `table`, in order, None where there is none.

    `name`: for messages.
    """

    texts: list[TextInput | None]
    table: FileTable
    name: str
    notes: list[str] = field(default_factory=list)

    @property
    def has_lines(self) -> bool:
        """Whether it is one text a line, no table."""
        return self.table.format.suffix == ".txt"


def read_text_rows(source: str | Path, *, options: DataConfig, trained: Columns) -> TextRows:
    """Return all rows of a file with their texts.

    Parameters
    ----------
    source
        A table or a file with one text a line, or `-` for standard input.
    options
        How the file is read; a text column that is given goes before that of training.
    trained
        Columns of the training rows.

    Raises
    ------
    UserError
        If the file cannot be read, has no rows, or its text column is not told.
    """
    path = dataset.find_existing(source)
    name = dataset.shown_name(path)
    table = dataset.read_table(source, options=options, text_names=trained.texts)
    if not table.records:
        raise base.bad_file("no rows", name, "a header alone is not enough; add rows")
    if trained.form == "pair" and table.format.suffix == ".txt":
        what = f"the model reads pairs of texts ({' and '.join(trained.texts)}), found one text a line"
        raise base.bad_file(what, name, "give a table with both columns")
    if (worded := tagged_rows.find_worded_texts(table, options, trained=trained)) is not None:
        return TextRows(worded, table, name, list(table.notes))
    options, notes = reuse_columns(table, options, trained, file=name)
    texts, more = dataset.find_texts(table, options=options, file=name)
    return TextRows(texts, table, name, [*table.notes, *notes, *more])


def find_text_rows(data: Any, *, options: DataConfig, trained: Columns) -> TextRows:
    """Return the texts of what a caller of `predict` has.

    Parameters
    ----------
    data
        Texts in a list, Series or array; a DataFrame, a `datasets.Dataset`, a list of dicts, a dict of columns or of one row,
        which need the text column of training; or the path of a file. A model of pairs takes tuples of two texts in place of
        texts, and rows with both columns of training, or with `text` and `text_pair`.

    Raises
    ------
    UserError
        If it is one string that is no file, the text column is missing, something is no text, or a model of pairs gets single
        texts, or the reverse.
    """
    if isinstance(data, TextRows):
        return data
    if isinstance(data, str) and not os.path.isfile(data) and not source_tables.is_packaged(data):
        if looks_like_a_path(data):
            dataset.find_existing(data)
        raise UserError("wanted several texts, found one string", where="predict", fix="predict([text])", code=ExitCode.USAGE)
    if isinstance(data, str) or hasattr(data, "__fspath__"):
        return read_text_rows(Path(data), options=options, trained=trained)
    if isinstance(data, Mapping) and not any(_is_column(value) for value in data.values()):
        data = [data]
    rows = data if _is_frame(data) else _listed(data, pairs=trained.form == "pair")
    if _is_frame(rows) or (rows and all(isinstance(row, Mapping) for row in rows)):
        return _from_table(to_table(rows), options=options, trained=trained)
    if trained.form == "pair":
        return _from_pairs(rows)
    if pair := next((number for number, value in enumerate(rows, start=1) if is_pair(value)), 0):
        what, fix = "the model reads single texts, found a pair of texts", "join the two as the texts of training are"
        raise UserError(what, where=f"text {pair}", fix=fix, code=ExitCode.BAD_DATA)
    texts: list[TextInput | None] = [find_text(value, f"text {number}") for number, value in enumerate(rows, start=1)]
    records = [Record(f"text {number}", {"text": text or ""}) for number, text in enumerate(texts, start=1)]
    return TextRows(texts, FileTable(records, ("text",), FileFormat(".txt"), header=("text",)), "texts")


def _from_pairs(rows: Sequence[Any]) -> TextRows:
    """Return the rows of tuples of two texts. Raise `UserError` for anything else: a text alone is no pair."""
    texts: list[TextInput | None] = []
    for number, value in enumerate(rows, start=1):
        where = f"pair {number}"
        if isinstance(value, str) or not isinstance(value, tuple | list) or len(value) != 2:
            found = (
                "one text" if isinstance(value, str) else f"{len(value)} of them" if _is_column(value) else type(value).__name__
            )
            fix = "predict([(first, second)]), or rows with both columns"
            raise UserError(f"the model reads pairs of texts, found {found}", where=where, fix=fix, code=ExitCode.BAD_DATA)
        first, second = (find_text(text, where) for text in value)
        texts.append(None if first is None or second is None else TextPair(first, second))
    records = [
        Record(f"pair {number}", dict(zip(PAIR_NAMES, given or ("", ""), strict=True)))
        for number, given in enumerate(texts, start=1)
    ]
    return TextRows(texts, FileTable(records, PAIR_NAMES, FileFormat(".csv"), header=PAIR_NAMES), "pairs")


def find_text(value: Any, where: str) -> str | None:
    """Return the text, None if nothing can be read in it. Raise `UserError` for what is no text, or no valid Unicode."""
    value = plain_scalar(value)
    if value is None or (isinstance(value, str) and dataset.is_blank(value)):
        return None
    if not isinstance(value, str):
        what = f"wanted text, found {type(value).__name__}"
        raise UserError(what, where=where, fix="give texts, or rows with the text column", code=ExitCode.BAD_DATA)
    try:
        value.encode()
    except UnicodeEncodeError:
        what = "bytes that are not UTF-8, or half of a surrogate pair"
        raise UserError(what, where=where, fix="write it in UTF-8", code=ExitCode.BAD_DATA) from None
    return value


def looks_like_a_path(text: str) -> bool:
    """Return whether a text that is no file may have been meant as one: one word with the suffix of a table."""
    if not text.strip() or len(text.split()) > 1 or "\0" in text:
        return False
    path = Path(text)
    return bool(readers.suffix(path) or readers.packing(path)) or text.startswith(("./", "../", "/", "~/"))


def _is_frame(data: Any) -> bool:
    """Return whether it has columns with names, or is such a mapping."""
    return isinstance(data, Table | Mapping) or hasattr(data, "columns") or hasattr(data, "column_names")


def _is_column(value: Any) -> bool:
    return not isinstance(value, str | bytes | Mapping) and isinstance(value, Iterable)


def _listed(data: Any, *, pairs: bool) -> list[Any]:
    """Return the items of a list, Series, array or iterator. Raise `UserError` for what has none, or has rows of several.

    `pairs`: rows of two are wanted.
    """
    if pairs and getattr(data, "ndim", 1) == 2:
        return [tuple(row) for row in plain_values(data)]
    if getattr(data, "ndim", 1) != 1:
        what = f"wanted one text a row, found an array of shape {tuple(data.shape)}"
        raise UserError(what, where="predict", fix="give the column with the texts")
    if isinstance(data, bytes | Set) or not isinstance(data, Iterable):  # a set has no order
        what = f"wanted texts, rows or the path of a file, found {type(data).__name__}"
        raise UserError(what, where="predict", fix="predict([text])")
    return list(plain_values(data))


def _from_table(table: Table | None, *, options: DataConfig, trained: Columns) -> TextRows:
    assert table is not None, "rows in memory"
    records = table.all_records()
    columns = base.find_columns(records)
    found = FileTable(records, columns, FileFormat(".csv"), header=columns, repeated=table.repeated)
    if not records:
        return TextRows([], found, "data")
    if (worded := tagged_rows.find_worded_texts(found, options, trained=trained)) is not None:
        return TextRows(worded, found, "data", [])
    fix = _PAIRS_FIX if trained.form == "pair" else _IN_MEMORY_FIX
    options, notes = reuse_columns(found, options, trained, file="data", fix=fix)
    texts, more = dataset.find_texts(found, options=options)
    return TextRows(texts, found, "data", [*notes, *more])
