"""The format of a file that its name does not tell, from its first bytes."""

import re
import zipfile

from finewright.data.readers import csv_dialects, encodings, source, text
from finewright.data.readers.base import InputFile, ReadOptions
from finewright.data.readers.source import bad_file

_BINARY = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrow"}
_HEAD_BYTES = 1 << 16
_SAMPLE_LINES = 60
_LEAST_ALIKE = 0.9
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How files of Excel before 2007 begin, and workbooks with a password."""
_PAGE = re.compile(rb"(<\?xml[^>]*>\s*)?(<!--(?:(?!-->).)*-->\s*)*<(!doctype\s+html|html|head|body|table)\b", re.DOTALL)
"""A comment ends at its first `-->`: if it might end at any later one, several comments would be tried in every combination."""
_XML = re.compile(rb"<\?xml\b")
_MARKED_BLANK = b"\xef\xbb\xbf\xff\xfe \t\r\n"


def refuse_other_formats(file: InputFile) -> None:
    """Raise `UserError` for what is often taken for a table: an HTML page, XML, a workbook of old Excel."""
    try:
        with file.open() as handle:
            head = handle.read(_HEAD_BYTES)
    except source.READ_ERRORS:
        return  # whoever reads it says so
    save = "open it in Excel or LibreOffice, and save it as .xlsx or as CSV UTF-8"
    if head.startswith(_OLD_OFFICE):
        protected = "" if file.suffix == ".xls" else ", or a file with a password"
        raise bad_file(f"this is the old Excel format (.xls){protected}", file.path, save)
    start = head.replace(b"\0", b"").lstrip(_MARKED_BLANK).lower()
    if _PAGE.match(start):
        way = (
            save
            if file.suffix.startswith(".xls")
            else "download the file itself: a link often leads to a page about it, or to a login"
        )
        raise bad_file("this is an HTML page, not a table", file.path, way)
    if _XML.match(start):
        raise bad_file(
            "this is XML, not a table",
            file.path,
            save if file.suffix.startswith(".xls") else "save the table as CSV or JSON lines",
        )


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


def first_lines(file: InputFile, options: ReadOptions) -> list[str]:
    """Return the first lines of a file, as far as they can be read; none of a binary one."""
    try:
        with file.open() as handle:
            head = handle.read(_HEAD_BYTES)
        return _first_lines(head, options.encoding)
    except (*source.READ_ERRORS, UnicodeError):
        return []


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
