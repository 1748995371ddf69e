"""One file, in any format that can be read, as records."""

from collections.abc import Collection
from pathlib import Path

from finewright.core.errors import UserError
from finewright.data.readers import text
from finewright.data.readers.base import Record, suffix
from finewright.data.readers.csv import read_csv
from finewright.data.readers.json import read_json, read_jsonl
from finewright.data.readers.parquet import read_parquet
from finewright.data.readers.text import bad_file


def read_records(path: Path, *, wanted: Collection[str] = ()) -> tuple[list[Record], list[str]]:
    """All rows of a file and notes for the user; what cannot be read is one `UserError` with up to 20 places.

    `wanted`: columns that are enough where they all are there; a format kept by columns then leaves the others out.
    """
    text.check_regular(path)
    kind = suffix(path)
    if kind == ".parquet":
        return read_parquet(path, wanted=wanted), []
    readers = {".csv": read_csv, ".tsv": read_csv, ".jsonl": read_jsonl, ".json": read_json}
    if kind not in readers:
        what = "a .txt file has texts, no labels" if kind else f"cannot tell the format of {path.name}"
        raise bad_file(
            what, path, f"name a table with one of {', '.join((*readers, '.parquet'))}, or a text one of them with .gz"
        )
    lines = text.read_lines(path)
    try:
        return readers[kind](lines, path)
    except UserError as error:
        fault = error
    text.exhaust(lines)  # a fault in the bytes is told before one in the table, wherever it stands
    raise fault
