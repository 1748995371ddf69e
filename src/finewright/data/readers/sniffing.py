"""The format of a file that its name does not tell, from its first bytes."""

import zipfile

from finewright.data.readers import csv_dialects, encodings, source, text
from finewright.data.readers.base import InputFile, ReadOptions

_BINARY = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrow"}
_HEAD_BYTES = 1 << 16
_SAMPLE_LINES = 60
_LEAST_ALIKE = 0.9


def find_suffix(file: InputFile, options: ReadOptions) -> tuple[str, list[str]]:
    """Return (the suffix of the format, the names in the first row of a table); (`""`, []) if it is none that is known."""
    try:
        with file.open() as handle:
            head = handle.read(_HEAD_BYTES)
    except source.READ_ERRORS as error:
        raise source.unreadable(error, file.path) from None
    if kind := next((kind for magic, kind in _BINARY.items() if head.startswith(magic)), ""):
        return kind, []
    if head.startswith(b"PK\x03\x04"):
        return (".xlsx", []) if _is_workbook(file) else ("", [])
    sample = [line for line in _first_lines(head, options.encoding) if line.strip()]
    if sample and sample[0].lstrip()[0] in "{[":
        return _json_suffix(sample[0].strip()), []
    return _table_suffix(sample, header=not options.no_header)


def _first_lines(head: bytes, encoding: str | None) -> list[str]:
    """Return whole lines from the start of a file; characters that cannot be decoded do not matter here."""
    mark = encodings.find_mark(head)
    found = text.Decoding(encoding).wanted or encodings.MARKS.get(mark) or encodings.find_utf16(head) or "utf-8"
    lines = list(text.split_lines(head.removeprefix(mark).decode(found, "replace").splitlines(keepends=True)))
    return lines[: _SAMPLE_LINES if len(head) < _HEAD_BYTES else min(_SAMPLE_LINES, max(1, len(lines) - 1))]


def _json_suffix(first: str) -> str:
    return ".jsonl" if first.startswith("{") and first.rstrip(",").endswith("}") else ".json"


def _table_suffix(sample: list[str], *, header: bool) -> tuple[str, list[str]]:
    dialect, _ = csv_dialects.find(iter(sample), suffix="", header=header)
    rows = sample[dialect.num_above :]
    counts = csv_dialects.count_fields(rows, dialect.delimiter, spaced=dialect.spaced)
    if len(counts) < 2 or counts[0] < 2 or csv_dialects.share_alike(counts) < _LEAST_ALIKE:
        return "", []
    names = [name.strip().strip('"') for name in rows[0].split(dialect.delimiter)]
    return ".tsv" if dialect.delimiter == "\t" else ".csv", names


def _is_workbook(file: InputFile) -> bool:
    try:
        with file.open() as handle, zipfile.ZipFile(handle) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
