"""Parquet; errors name the row."""

from finewright.data.readers.base import PAIR_NAMES, FileTable, InputFile, ReadOptions, name_columns
from finewright.data.readers.columnar import to_table
from finewright.data.readers.text import bad_file

SUFFIXES = (".parquet",)


def read(file: InputFile, options: ReadOptions) -> FileTable:
    """Return all rows; of the `wanted` columns alone if the file has all of them."""
    import pyarrow
    import pyarrow.parquet

    try:
        opened = pyarrow.parquet.ParquetFile(file.path if file.is_plain else pyarrow.BufferReader(file.read_bytes()))
        given = opened.schema_arrow.names
        names, repeated = name_columns(given, str(file.path))
        wanted = {*options.wanted}
        enough = [column for column, name in zip(given, names, strict=True) if name in wanted]
        is_enough = enough and len(enough) == len(wanted) and not repeated and PAIR_NAMES[1] not in names
        table = opened.read(columns=enough if is_enough else None)
        return to_table(table, file, suffix=".parquet")
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise bad_file(f"not readable as Parquet: {str(error).splitlines()[0]}", file.path, "check the file") from None
