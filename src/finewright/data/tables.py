"""Data that is already in memory: a DataFrame, a `datasets.Dataset`, lists of dicts, texts with labels."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.data.readers.base import SPLIT_NAMES, Record, name_columns
from finewright.data.readers.hub import iterate_named

IN_MEMORY = "in memory ("
"""How the name of a table begins."""


class Table:
    """Rows in memory by split. As text it is a name made of its contents, so that a run over the same rows is recognised.

    `repeated`: as in `FileTable`.
    """

    def __init__(self, splits: Mapping[str, list[Record]], *, repeated: Mapping[str, str] | None = None) -> None:
        self.splits = dict(splits)
        self.repeated = dict(repeated or {})
        digest = hashlib.sha256()
        for name, records in self.splits.items():
            for record in records:
                digest.update(json.dumps([name, record.values], sort_keys=True, default=str).encode())
        self.digest = digest.hexdigest()[:16]

    def __str__(self) -> str:
        return f"{IN_MEMORY}{self.digest})"

    def all_records(self) -> list[Record]:
        """Return the rows of all splits."""
        return [record for split in self.splits.values() for record in split]


def to_table(data: Any, labels: Any = None) -> Table | None:
    """Return the rows of `data` as a table; None when it is a path or a hub id.

    Parameters
    ----------
    data
        A path or hub id (`str`, `Path`), a DataFrame, a `datasets.Dataset` or `DatasetDict`, a list of dicts, a dict of
        columns, a dict of splits, or a sequence of texts with `labels` beside it.
    labels
        One label for each text, where `data` holds texts alone.

    Raises
    ------
    UserError
        If the rows cannot be told, or texts and labels differ in number.
    """
    if labels is not None:
        return Table({"train": _paired(data, labels)})
    if isinstance(data, Table):
        return data
    if isinstance(data, str) or hasattr(data, "__fspath__"):
        return None
    if isinstance(data, Mapping) and (found := _find_splits(data)):
        repeated: dict[str, str] = {}
        splits = {}
        for split, name in found.items():
            part, more = _name_columns(data[name])
            splits[split], repeated = _records(part, name=f"{split} row"), repeated | more
        return Table(splits, repeated=repeated)
    data, repeated = _name_columns(data)
    return Table({"train": _records(data, name="row")}, repeated=repeated)


def _name_columns(data: Any) -> tuple[Any, dict[str, str]]:
    """Give the columns of a pandas or pyarrow table names of their own. Return also the names that several had: a row as a
    dict would hold the last of them alone."""
    names = getattr(data, "columns" if hasattr(data, "to_dict") else "column_names", None)
    if names is None or isinstance(data, Mapping) or len({*map(str, names)}) == len(names):
        return data, {}
    own, repeated = name_columns([str(name) for name in names], "data")
    if hasattr(data, "set_axis"):  # pandas
        return data.set_axis(list(own), axis=1), repeated
    return (data.rename_columns(list(own)), repeated) if hasattr(data, "to_pylist") else (data, {})


def _find_splits(data: Mapping[str, Any]) -> dict[str, str]:
    """Return split → name in `data`; none if it holds columns. Further parts of a `DatasetDict` are left out, as those of a hub
    data set are."""
    found = {split: name for split, names in SPLIT_NAMES.items() if (name := next((one for one in names if one in data), None))}
    return found if set(data) == {*found.values()} or all(hasattr(part, "column_names") for part in data.values()) else {}


def to_values(column: Any, *, what: str) -> list[Any]:
    """Return the values of one column as Python values: those of a list, an array, a Series, or a table with one column.

    What has no order or several columns is refused: its values would be paired with other rows. `what`: the values, in messages.
    """
    names = getattr(column, "columns", None)
    if names is not None and len(names) == 1:
        column = column[names[0]]
    elif names is not None or isinstance(column, str | bytes | Mapping | Set) or not isinstance(column, Iterable):
        found = "one string" if isinstance(column, str) else f"a {type(column).__name__}"
        found += f" with the columns {', '.join(map(str, names))}" if names is not None else ""
        raise UserError(f"wanted several {what}, found {found}", where=what, fix="give a list or one column")
    return [plain_scalar(value) for value in plain_values(column)]


def _paired(texts: Any, labels: Any) -> list[Record]:
    one, other = to_values(texts, what="texts"), to_values(labels, what="labels")
    if len(one) != len(other):
        what = f"{len(one):,} texts, but {len(other):,} labels"
        raise UserError(what, where="labels", fix="give one label for each text", code=ExitCode.BAD_DATA)
    rows = [{"text": text, "label": label} for text, label in zip(one, other, strict=True)]
    if one and all(map(is_pair, one)):
        rows = [{**row, "text": row["text"][0], "text_pair": row["text"][1]} for row in rows]
    return _numbered(rows, name="row")


def is_pair(value: Any) -> bool:
    """Return whether a value is two texts, as a tuple or a list."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(text, str) for text in value)


def _records(data: Any, *, name: str) -> list[Record]:
    """The rows of one split, numbered from 1."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas
        rows: Any = data.to_dict("records")
    elif hasattr(data, "features") and hasattr(data, "column_names"):  # datasets
        rows = list(iterate_named(data))
    elif hasattr(data, "to_dicts"):  # polars
        rows = data.to_dicts()
    elif hasattr(data, "to_pylist"):  # pyarrow
        rows = data.to_pylist()
    elif isinstance(data, Mapping):
        columns = {key: plain_values(values) for key, values in data.items()}
        if len({len(values) for values in columns.values()}) > 1:
            sizes = ", ".join(f"{key} {len(values):,}" for key, values in columns.items())
            raise UserError(f"columns of different length: {sizes}", where="data", fix="one value a row in every column")
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        rows = list(data)
    else:
        rows = None
    if rows is None or any(not isinstance(row, Mapping) for row in rows):
        found = (
            type(data).__name__
            if rows is None
            else f"a row of type {type(next(r for r in rows if not isinstance(r, Mapping))).__name__}"
        )
        what = f"wanted a path, a DataFrame, a Dataset or a list of dicts, found {found}"
        raise UserError(what, where="data", fix='for instance [{"text": "…", "label": "…"}], or train(texts, labels)')
    return _numbered(rows, name=name)


def _numbered(rows: Iterable[Mapping[str, Any]], *, name: str) -> list[Record]:
    return [
        Record(f"{name} {number}", {str(key): plain_scalar(value) for key, value in row.items()})
        for number, row in enumerate(rows, start=1)
    ]


def plain_values(values: Any) -> Sequence[Any]:
    """Return Python values of a Series, an array or a list."""
    return values.tolist() if hasattr(values, "tolist") else list(values)


def plain_scalar(value: Any) -> Any:
    """Return a Python value: the text of a member of an enumeration, NumPy's scalars unwrapped, a missing value as None.

    An array is a list, as pandas reads lists from Parquet; a set is one too, in order.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    elif hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0:
        value = value.tolist()
    elif isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    missing = isinstance(value, float) and value != value
    return None if missing or type(value).__name__ in ("NAType", "NaTType") else value
