"""Lines of a text file, unpacked and decoded lazily; a fault in the bytes names its line."""

import codecs
import gzip
import itertools
import re
import stat
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from finewright.core.errors import ExitCode, UserError

MOST_BYTES = 4 << 30
"""Largest text after unpacking; a larger one is a mistake or a gzip bomb."""
_HEAD_BYTES = 200
_MAGIC = {
    b"PK\x03\x04": "a zip archive (xlsx is one)",
    b"\x89PNG": "a PNG picture",
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Office file",
}
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_PARTED_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

T = TypeVar("T")


def bad_file(what: str, where: Path | str, fix: str) -> UserError:
    """Return an error about the data."""
    return UserError(what, where=str(where), fix=fix, code=ExitCode.BAD_DATA)


def check_regular(path: Path) -> None:
    """Raise `UserError` if there is no regular file: a folder, a pipe, nothing."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise bad_file(f"cannot be opened: {error.strerror}", path, "check the path") from None
    if not stat.S_ISREG(mode):
        raise bad_file("not a regular file", path, "give a file with rows")


def read_lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a regular file, each with its \n: UTF-8, or UTF-16 with a byte order mark.

    Of several faults the most basic one is reported, whatever line it is in: an unreadable file before undecodable bytes, and
    those before a NUL.
    """
    check_regular(path)
    raw = _raw_lines(path)
    first: list[bytes] = []
    while sum(map(len, first)) < _HEAD_BYTES and (one := next(raw, b"")):
        first.append(one)
    head, raw = b"".join(first)[:_HEAD_BYTES], itertools.chain(first, raw)
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if fault := _wrong_format(head, path, marked=marked):
        exhaust(raw)
        raise fault
    nul = 0
    for number, line in enumerate((_utf16 if marked else _utf8)(raw, path), start=1):
        if not nul and "\x00" in line:
            nul = number
        if not nul:
            yield line
    if nul:
        raise bad_file("a NUL character", f"{path.name}:{nul}", "remove it; text has none")


def split_lines(some: Iterable[str]) -> Iterator[str]:
    """Yield the same lines, split at lone carriage returns too, as old computers wrote them."""
    for line in some:
        place = line.find("\r")
        if place < 0 or (place == len(line) - 2 and line[-1] == "\n"):
            yield line
        else:
            yield from (found[0] for found in _PARTED_LINE.finditer(line))


def parse_lines(path: Path, parse: Callable[[Iterator[str], Path], T]) -> T:
    """Return `parse(lines, path)`. A fault in the bytes, wherever it is, comes before one in the table."""
    lines = read_lines(path)
    try:
        return parse(lines, path)
    except UserError as error:
        fault = error
    exhaust(lines)
    raise fault


def exhaust(some: Iterator[str] | Iterator[bytes]) -> None:
    """Read to the end, to find a fault there."""
    deque(some, maxlen=0)


def _raw_lines(path: Path) -> Iterator[bytes]:
    left = MOST_BYTES
    try:
        with open(path, "rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b" and path.name.lower().endswith(".gz")
        with gzip.open(path, "rb") if packed else open(path, "rb") as handle:
            while line := handle.readline(left + 1):
                left -= len(line)
                if left < 0:
                    raise bad_file(f"more than {MOST_BYTES / (1 << 30):.3g} GiB of text", path, "split the file, or use Parquet")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise bad_file(f"cannot be read: {getattr(error, 'strerror', None) or error}", path, "check the file") from None


def _wrong_format(head: bytes, path: Path, *, marked: bool) -> UserError | None:
    """Return an error if the first bytes show another format."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return bad_file(
                f"this is {name}, not text", path, "save the table as CSV or JSON lines, or give the file its right name"
            )
    if not marked and head.count(0) * 4 > len(head):
        fix = f"iconv -f UTF-16LE -t UTF-8 {path.name} > utf8-{path.name}"
        return bad_file("NUL characters; it looks like UTF-16 without its mark", f"{path.name}:1", fix)
    return None


def _utf8(raw: Iterator[bytes], path: Path) -> Iterator[str]:
    """Decode line by line: no byte of a longer character in UTF-8 is a line end."""
    for number, line in enumerate(raw, start=1):
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        try:
            if line:
                yield line.decode()
        except UnicodeDecodeError as error:
            fault = _not_decodable(error, f"{path.name}:{number}", column=error.start + 1, name=path.name)
            exhaust(raw)
            raise fault from None


def _utf16(raw: Iterator[bytes], path: Path) -> Iterator[str]:
    whole = b"".join(raw)
    try:
        text = whole.decode("utf-16")
    except UnicodeDecodeError as error:
        where = f"{path.name}:{whole.count(10, 0, error.start) + 1}"
        raise _cut_off(where, column=error.start - whole.rfind(b"\n", 0, error.start)) from None
    yield from (found[0] for found in _LINE.finditer(text))


def _not_decodable(error: UnicodeDecodeError, where: str, *, column: int, name: str) -> UserError:
    if "unexpected end" in error.reason:
        return _cut_off(where, column=column)
    what = f"byte 0x{error.object[error.start]:02X} at column {column} is not UTF-8; it looks like Windows-1252"
    return bad_file(what, where, f"iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8-{name}")


def _cut_off(where: str, *, column: int) -> UserError:
    what = f"the text ends inside a character, at byte {column} of the line: the file looks cut off"
    return bad_file(what, where, "copy or export it again")
