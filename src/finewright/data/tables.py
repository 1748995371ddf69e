"""Data that is already in memory: a DataFrame, a `datasets.Dataset`, lists of dicts, texts with labels."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.data.readers.base import Record

IN_MEMORY = "in memory ("
"""How the name of a table begins."""
_SPLITS = ("train", "validation", "test")


class Table:
    """Rows in memory by split. As text it is a name made of its contents, so that a run over the same rows is recognised."""

    def __init__(self, splits: Mapping[str, list[Record]]) -> None:
        self.splits = dict(splits)
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
    if isinstance(data, Mapping) and data and set(data) <= set(_SPLITS):
        return Table({name: _records(data[name], name=f"{name} row") for name in _SPLITS if name in data})
    return Table({"train": _records(data, name="row")})


def _paired(texts: Any, labels: Any) -> list[Record]:
    if isinstance(texts, str) or isinstance(labels, str):
        raise UserError(
            "wanted several texts with a label each, found one string", where="data", fix="train([text, …], [label, …])"
        )
    one, other = plain_values(texts), plain_values(labels)
    if len(one) != len(other):
        what = f"{len(one):,} texts, but {len(other):,} labels"
        raise UserError(what, where="labels", fix="give one label for each text", code=ExitCode.BAD_DATA)
    return _numbered(({"text": text, "label": label} for text, label in zip(one, other, strict=True)), name="row")


def _records(data: Any, *, name: str) -> list[Record]:
    """The rows of one split, numbered from 1."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas
        rows: Any = data.to_dict("records")
    elif hasattr(data, "to_list") and hasattr(data, "column_names"):  # datasets
        rows = data.to_list()
    elif hasattr(data, "to_dicts"):  # polars
        rows = data.to_dicts()
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
    """Return a Python value: NumPy's scalars unwrapped, None for what pandas has for a missing value."""
    if hasattr(value, "item") and not isinstance(value, str) and getattr(value, "ndim", 0) == 0:
        value = value.item()
    missing = isinstance(value, float) and value != value
    return None if missing or type(value).__name__ in ("NAType", "NaTType") else value
