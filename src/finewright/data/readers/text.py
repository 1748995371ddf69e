"""Lines of a text file, unpacked and decoded lazily; a fault in the bytes names its line."""

import codecs
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from finewright.core.errors import ExitCode, UserError
from finewright.data.readers import encodings, source
from finewright.data.readers.base import FileFormat, as_input
from finewright.data.readers.source import InputFile, bad_file

MOST_BYTES = source.MOST_BYTES
_HEAD_BYTES = 200
_CTRL_Z = "\x1a"
"""The end of a text file under DOS."""
_MAGIC = {
    b"PK\x03\x04": "a zip archive (xlsx is one)",
    b"\x89PNG": "a PNG picture",
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Office file",
}
_PARTED_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

T = TypeVar("T")


@dataclass
class Decoding:
    """How a file is decoded. `wanted`: the encoding that was asked for. The rest is found out while the lines are read."""

    wanted: str | None = None
    encoding: str = "utf-8"
    mark: bool = False
    newline: str = "\n"
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            "".encode(self.wanted or "utf-8")
        except LookupError:
            fix = "for instance utf-8, windows-1252, utf-16-le, shift_jis"
            raise UserError(f"unknown encoding {self.wanted!r}", where="--encoding", fix=fix, code=ExitCode.USAGE) from None

    def file_format(self, suffix: str) -> FileFormat:
        """Return the format of a text file that was read so."""
        return FileFormat(suffix, encoding=self.encoding, mark=self.mark, newline=self.newline)


def read_lines(path: Path | InputFile, decoding: Decoding | None = None) -> Iterator[str]:
    r"""Yield the lines of a file, each with its \n.

    They are UTF-8, else what a byte order mark, the zeros of UTF-16 or the words of Windows-1252 tell. Of several faults the
    most basic one is reported, whatever line it is in: an unreadable file before undecodable bytes, and those before a NUL.
    """
    file, decoding = as_input(path), decoding or Decoding()
    raw = _raw_lines(file)
    first: list[bytes] = []
    while sum(map(len, first)) < _HEAD_BYTES and (one := next(raw, b"")):
        first.append(one)
    head, raw = b"".join(first)[:_HEAD_BYTES], itertools.chain(first, raw)
    if fault := _wrong_format(head, file, decoding):
        exhaust(raw)
        raise fault
    nul, last = 0, ""
    for number, line in enumerate(_decode(raw, head, file, decoding), start=1):
        if number == 1:
            decoding.newline = "\r\n" if line.endswith("\r\n") else "\r" if "\r" in line else "\n"
        if not nul and "\x00" in line:
            nul = number
        if nul:
            continue
        if last:
            yield last
            last = ""
        if _CTRL_Z in line and not line.strip(_CTRL_Z + "\r\n"):
            last = line  # left out if it is the last line
        else:
            yield line
    if nul:
        raise bad_file("a NUL character", f"{file.name}:{nul}", "remove it; text has none")


def split_lines(some: Iterable[str]) -> Iterator[str]:
    """Yield the same lines, split at lone carriage returns too, as old computers wrote them."""
    for line in some:
        place = line.find("\r")
        if place < 0 or (place == len(line) - 2 and line[-1] == "\n"):
            yield line
        else:
            yield from (found[0] for found in _PARTED_LINE.finditer(line))


def parse_lines(file: InputFile, parse: Callable[[Iterator[str], InputFile], T], decoding: Decoding | None = None) -> T:
    """Return `parse(lines, file)`. A fault in the bytes, wherever it is, comes before one in the table."""
    lines = read_lines(file, decoding)
    try:
        return parse(lines, file)
    except UserError as error:
        fault = error
    exhaust(lines)
    raise fault


def exhaust(some: Iterator[str] | Iterator[bytes]) -> None:
    """Read to the end, to find a fault there."""
    deque(some, maxlen=0)


def _raw_lines(file: InputFile) -> Iterator[bytes]:
    left = MOST_BYTES
    try:
        with file.open() as handle:
            while line := handle.readline(left + 1):
                left -= len(line)
                if left < 0:
                    what = f"more than {MOST_BYTES / (1 << 30):.3g} GiB of text"
                    raise bad_file(what, file.path, "split the file, or use Parquet")
                yield line
    except source.READ_ERRORS as error:
        raise source.unreadable(error, file.path) from None


def _wrong_format(head: bytes, file: InputFile, decoding: Decoding) -> UserError | None:
    """Return an error if the first bytes show another format."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            fix = "save the table as CSV or JSON lines, or give the file its right name"
            return bad_file(f"this is {name}, not text", file.path, fix)
    known = decoding.wanted or encodings.find_mark(head) or encodings.find_utf16(head)
    if not known and head.count(0) * 4 > len(head):
        return bad_file("NUL characters", f"{file.name}:1", "this is no text, or in an encoding that --encoding NAME must name")
    return None


def _decode(raw: Iterator[bytes], head: bytes, file: InputFile, decoding: Decoding) -> Iterator[str]:
    mark = encodings.find_mark(head)
    decoding.mark = bool(mark)
    decoding.encoding = decoding.wanted or encodings.MARKS.get(mark, "utf-8")
    if not mark and not decoding.wanted and (wide := encodings.find_utf16(head)):
        decoding.encoding = wide
        which = "every second byte is zero" if wide.endswith("le") else "every first byte of two is zero"
        decoding.notes.append(f"{file.name}: read as {wide.upper()}: it has no byte order mark, but {which}")
    if mark:
        raw = itertools.chain([next(raw).removeprefix(mark)], raw)
    name = codecs.lookup(decoding.encoding).name
    if name.startswith(("utf-16", "utf-32")):
        return _decode_wide(raw, file, decoding)
    return _decode_lines(raw, file, decoding, utf8=name == "utf-8" and not decoding.wanted)


def _decode_lines(raw: Iterator[bytes], file: InputFile, decoding: Decoding, *, utf8: bool) -> Iterator[str]:
    """Decode line by line: no byte of a longer character is a line end there. `utf8`: assumed, not asked for."""
    encoding = decoding.encoding
    for number, line in enumerate(raw, start=1):
        if not line:
            continue
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            why = encodings.why_not_windows(_raw_lines(file)) if utf8 and not _is_cut(error) else ""
            if why or not utf8 or _is_cut(error):
                fault = _not_decodable(error, file, line=number, why=why)
                exhaust(raw)
                raise fault from None
            utf8, encoding = False, encodings.WINDOWS
            decoding.encoding = encoding
            byte = f"byte 0x{line[error.start]:02X} in line {number} is not UTF-8"
            decoding.notes.append(f"{file.name}: read as Windows-1252: {byte}; --encoding names another")
            yield line.decode(encoding)


def _decode_wide(raw: Iterator[bytes], file: InputFile, decoding: Decoding) -> Iterator[str]:
    """Decode an encoding in which the bytes of a line end may be parts of other characters."""
    decoder = codecs.getincrementaldecoder(decoding.encoding)()
    number, rest = 0, ""
    try:
        for piece in itertools.chain(raw, [b""]):
            *full, rest = (rest + decoder.decode(piece, final=not piece)).split("\n")
            for line in full:
                number += 1
                yield f"{line}\n"
    except UnicodeDecodeError as error:
        where = f"{file.name}:{number + 1}"
        fault = _cut_off(where, column=len(rest) + 1)
        if not _is_cut(error):
            fault = bad_file(f"not {decoding.encoding.upper()}: {error.reason}", where, "--encoding NAME names another encoding")
        exhaust(raw)
        raise fault from None
    if rest:
        yield rest


def _is_cut(error: UnicodeDecodeError) -> bool:
    return "unexpected end" in error.reason or "truncated" in error.reason or "incomplete" in error.reason


def _not_decodable(error: UnicodeDecodeError, file: InputFile, *, line: int, why: str) -> UserError:
    where, column = f"{file.name}:{line}", error.start + 1
    if _is_cut(error):
        return _cut_off(where, column=column)
    byte = f"byte 0x{error.object[error.start]:02X} at column {column} is not"
    if not why:
        return bad_file(f"{byte} {error.encoding}", where, "--encoding NAME names another encoding")
    what = f"{byte} UTF-8; Windows-1252 is not sure either: {why}"
    return bad_file(what, where, "correct this line, or name the file's encoding: --encoding windows-1251, shift_jis, …")


def _cut_off(where: str, *, column: int) -> UserError:
    what = f"the text ends inside a character, at byte {column} of the line: the file looks cut off"
    return bad_file(what, where, "copy or export it again")
