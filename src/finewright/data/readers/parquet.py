"""Parquet; errors name the row."""

from collections.abc import Collection
from pathlib import Path

from finewright.data.readers.base import Record, check_header
from finewright.data.readers.text import bad_file

SUFFIXES = (".parquet",)


def read(path: Path, wanted: Collection[str]) -> tuple[list[Record], list[str]]:
    """Return all rows and notes; of the `wanted` columns alone if the file has all of them."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        given = file.schema_arrow.names
        names = check_header(given, str(path))
        enough = [column for column, name in zip(given, names, strict=True) if name in wanted]
        table = file.read(columns=enough if enough and len(enough) == len({*wanted}) else None)
        is_time = pyarrow.types.is_temporal  # Python has no nanoseconds
        columns = [(column.cast("string") if is_time(column.type) else column).to_pylist() for column in table.columns]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise bad_file(f"not readable as Parquet: {str(error).splitlines()[0]}", path, "check the file") from None
    by_column = dict(zip(given, names, strict=True))
    named = [by_column[column] for column in table.column_names]
    rows = enumerate(zip(*columns, strict=True), start=1)
    return [Record(f"{path.name}: row {number}", dict(zip(named, row, strict=True))) for number, row in rows], []
