"""Where the bytes of a file come from: the disk, a packed file, a pipe or standard input; they can be read again."""

import bz2
import gzip
import io
import lzma
import os
import select
import stat
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from finewright.core.errors import ExitCode, UserError

MOST_BYTES = 4 << 30
"""Largest table after unpacking; a larger one is a mistake or a bomb."""
STANDARD_INPUT = "-"
PACKED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00", ".zip": b"PK\x03\x04"}
"""Suffixes of packed files, and how such a file begins."""
READ_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,  # an encrypted member of a zip archive
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What reading a damaged file raises."""
_WAIT_SECONDS = 10.0
"""How long a pipe may have no writer."""


def bad_file(what: str, where: Path | str, fix: str) -> UserError:
    """Return an error about the data."""
    return UserError(what, where=str(where), fix=fix, code=ExitCode.BAD_DATA)


def packing(path: Path) -> str:
    """Return `.gz` for `a.csv.gz`, or nothing."""
    suffix = path.suffix.lower()
    return suffix if suffix in PACKED else ""


def plain_suffix(path: Path) -> str:
    """Return `.csv` for `a.csv` and `a.csv.gz`, in lower case."""
    return Path(path.name.lower().removesuffix(packing(path))).suffix


class InputFile:
    """A file to read, as often as needed. `name` stands in messages, `suffix` tells the format."""

    def __init__(self, path: Path, *, is_table: Callable[[str], bool] = lambda name: True) -> None:
        """Find the bytes. `is_table`: whether a member of an archive, by its name, is a table."""
        self.path = path
        self.name = "standard input" if str(path) == STANDARD_INPUT else path.name
        self.suffix = plain_suffix(path)
        self._content: bytes | None = None
        self._member: str | None = None
        self._packing = ""
        if str(path) == STANDARD_INPUT:
            self._content = _read_standard_input()
        elif _is_pipe(path):
            self._content = _read_pipe(path)
        else:
            self._unpack(is_table)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def is_plain(self) -> bool:
        """Whether the bytes are those of the file on the disk."""
        return self._content is None and not self._packing

    def open(self) -> IO[bytes]:
        """Return the unpacked bytes, from the start. Reading them may raise `READ_ERRORS`."""
        if self._content is not None:
            return io.BytesIO(self._content)
        if self._packing == ".zip":
            return zipfile.ZipFile(self.path).open(str(self._member))
        unpack: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(self._packing, open)
        return unpack(self.path, "rb")

    def read_bytes(self) -> bytes:
        """Return all bytes. Raise `UserError` if they cannot be read or are too many."""
        try:
            with self.open() as handle:
                return _at_most(handle, self.path)
        except READ_ERRORS as error:
            raise unreadable(error, self.path) from None

    def _unpack(self, is_table: Callable[[str], bool]) -> None:
        self._packing = packing(self.path)
        if not self._packing:
            return
        try:
            with open(self.path, "rb") as handle:
                begins = handle.read(len(PACKED[self._packing])) == PACKED[self._packing]
            if not begins:
                self._packing = ""
            elif self._packing == ".zip":
                self._member = _only_table(self.path, is_table)
                self.suffix = plain_suffix(Path(self._member))
        except READ_ERRORS as error:
            raise unreadable(error, self.path) from None


def unreadable(error: BaseException, path: Path) -> UserError:
    """Return the error for a file whose bytes cannot be read."""
    return bad_file(f"cannot be read: {getattr(error, 'strerror', None) or error}", path, "check the file")


def _is_pipe(path: Path) -> bool:
    """Return whether this is a pipe, not a regular file; raise `UserError` if it is neither."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise bad_file(f"cannot be opened: {error.strerror}", path, "check the path") from None
    if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
        raise bad_file("not a regular file", path, "give a file with rows")
    return stat.S_ISFIFO(mode)


def _read_standard_input() -> bytes:
    if sys.stdin is None:
        raise bad_file("standard input is closed", STANDARD_INPUT, "give a file, or send rows: … | finewright … -")
    handle = getattr(sys.stdin, "buffer", None)
    content = sys.stdin.read().encode() if handle is None else _at_most(handle, Path(STANDARD_INPUT))
    if not content:
        raise bad_file("standard input is empty", STANDARD_INPUT, "it is read once; send rows: … | finewright … -")
    return content


def _read_pipe(path: Path) -> bytes:
    """Return what comes through a pipe. One that nobody writes to is refused instead of waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as handle:
        deadline = time.monotonic() + _WAIT_SECONDS
        first = handle.read(1)
        while first == b"" and time.monotonic() < deadline:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if any(event & select.POLLHUP and not event & select.POLLIN for _, event in poll.poll(50)):
                break  # all writers have come and gone
            first = handle.read(1)
        if first == b"":
            raise bad_file("nothing writes to this pipe", path, "give a file with rows, or start what writes to it first")
        os.set_blocking(descriptor, True)
        return (first or b"") + _at_most(handle, path)


def _at_most(handle: IO[bytes], path: Path) -> bytes:
    pieces, left = [], MOST_BYTES
    while piece := handle.read(1 << 20):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise bad_file(f"more than {MOST_BYTES / (1 << 30):.3g} GiB", path, "split the file")
    return b"".join(pieces)


def _only_table(path: Path, is_table: Callable[[str], bool]) -> str:
    """Return the name of the one table in a zip archive."""
    with zipfile.ZipFile(path) as archive:
        names = [one for one in archive.namelist() if not one.endswith("/") and not _is_litter(one)]
    tables = [name for name in names if is_table(name)]
    if len(tables) == 1:
        return tables[0]
    listed = ", ".join((tables or names)[:10]) or "nothing"
    what = f"several tables in this archive: {listed}" if tables else f"no table in this archive; it has {listed}"
    raise bad_file(what, path, "unpack it, and give the table or the folder")


def _is_litter(name: str) -> bool:
    """Return whether a macOS archiver put this beside the files."""
    path = PurePosixPath(name)
    return not path.name or path.name.startswith(".") or "__MACOSX" in path.parts
