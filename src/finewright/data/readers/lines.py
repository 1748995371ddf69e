"""Texts, one a line."""

from finewright.data.readers import text
from finewright.data.readers.base import FileTable, InputFile, ReadOptions, Record

COLUMN = "text"


def read(file: InputFile, options: ReadOptions) -> FileTable:
    """Return the lines as rows of one column; a blank one is a row if `keep_blank` is set."""
    decoding = text.Decoding(options.encoding)
    lines = text.split_lines(text.read_lines(file, decoding))
    records = [
        Record(f"{file.name}:{number}", {COLUMN: line.rstrip("\r\n")})
        for number, line in enumerate(lines, start=1)
        if options.keep_blank or line.strip()
    ]
    return FileTable(records, (COLUMN,), decoding.file_format(".txt"), decoding.notes, (COLUMN,))
