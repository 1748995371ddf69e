"""Arrow files and streams, as `datasets` and Feather write them; errors name the row."""

from finewright.data.readers.base import FileTable, InputFile, ReadOptions
from finewright.data.readers.columnar import to_table
from finewright.data.readers.text import bad_file

SUFFIXES = (".arrow", ".feather")
_FILE = b"ARROW1"


def read(file: InputFile, options: ReadOptions) -> FileTable:
    """Return all rows; every column is read."""
    import pyarrow
    import pyarrow.ipc

    try:
        whole = pyarrow.memory_map(str(file.path)) if file.is_plain else pyarrow.BufferReader(file.read_bytes())
        is_file = whole.read(len(_FILE)) == _FILE
        whole.seek(0)
        table = (pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream)(whole).read_all()
        table.validate(full=True)  # a damaged file would be read outside its memory
        return to_table(table, file, suffix=".arrow")
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise bad_file(f"not readable as Arrow: {str(error).splitlines()[0]}", file.path, "check the file") from None
