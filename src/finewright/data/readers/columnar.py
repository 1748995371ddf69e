"""Rows of Arrow tables, for the formats that hold one."""

import json
from typing import Any

from finewright.data.readers.base import FileFormat, FileTable, InputFile, Record, name_columns


def to_table(table: Any, file: InputFile, *, suffix: str) -> FileTable:
    """Return the rows of an Arrow table, with names in place of class numbers and text in place of its bytes."""
    import pyarrow

    names, repeated = name_columns(table.schema.names, str(file.path))
    classes = class_names(table.schema.metadata or {})
    notes, columns = [], []
    for name, column in zip(names, table.columns, strict=True):
        if pyarrow.types.is_temporal(column.type):  # Python has no nanoseconds
            column = column.cast("string")
        values = column.to_pylist()
        if name in classes and pyarrow.types.is_integer(column.type):
            known = classes[name]
            values = [known[one] if one is not None and 0 <= one < len(known) else None for one in values]
            notes.append(f"{file.name}: {name!r} has the class names that the file gives: {', '.join(known[:10])}")
        elif _is_binary(column.type) and (texts := _decode(values)) is not None:
            values = texts
            notes.append(f"{file.name}: {name!r} holds bytes, which were read as UTF-8")
        columns.append(values)
    rows = enumerate(zip(*columns, strict=True), start=1)
    records = [Record(f"{file.name}: row {number}", dict(zip(names, row, strict=True))) for number, row in rows]
    return FileTable(records, names, FileFormat(suffix), notes, tuple(table.schema.names), repeated)


def class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes of each column, as `datasets` writes them beside a table."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        found = {name: feature.get("names") for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {
        name: names for name, names in found.items() if isinstance(names, list) and all(isinstance(one, str) for one in names)
    }


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def _decode(values: list[bytes | None]) -> list[str | None] | None:
    """Return the texts, or None if some bytes are no UTF-8."""
    try:
        return [None if one is None else one.decode() for one in values]
    except UnicodeDecodeError:
        return None
