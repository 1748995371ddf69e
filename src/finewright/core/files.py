"""Every change on disk that a run makes goes through these few calls, so that each can be counted, refused and replayed."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from finewright.core.errors import ExitCode, UserError

Bytes = bytes | bytearray | memoryview
DRAFT = ".draft-"
"""How the name of something begins that is not whole yet."""
_NOT_HERE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)
"""How file systems say that they do not have a call."""
_RUST = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust tell what the system refused, in errors of kinds of their own."""


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A descriptor of a file that must not exist yet; what was written is on the medium when the block ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        yield descriptor
        _flush(descriptor)
    finally:
        os.close(descriptor)


def write(descriptor: int, data: Bytes) -> None:
    """All of `data`: the system may take a part at a time."""
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(descriptor, left) :]


def append(path: Path, data: Bytes) -> None:
    """Put `data` at the end of a file, which is made if need be: then its name is on the medium, the data not yet."""
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        write(descriptor, data)
    finally:
        os.close(descriptor)
    if new:
        sync(path.parent)


def truncate(path: Path, num_bytes: int) -> None:
    """Shorten a file."""
    os.truncate(path, num_bytes)
    sync(path)


def sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the medium.

    A failure is never tried again: after one the system may report success for data that is lost.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    """On a Mac `fsync` leaves the data in the drive's own cache; another call does not, but not every file system has it."""
    whole = getattr(fcntl, "F_FULLFSYNC", None)
    if whole is not None:
        try:
            fcntl.fcntl(descriptor, whole)
            return
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
    os.fsync(descriptor)


def sync_all(folder: Path) -> None:
    """The same for a folder and all in it."""
    for inside in [*sorted(folder.rglob("*")), folder]:
        sync(inside)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file, read a piece at a time."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """A folder with those above it; the names of all that are new are on the medium when the call ends."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    os.makedirs(path, exist_ok=True)
    for folder in reversed(new):
        sync(folder.parent)


def rename(old: Path, new: Path) -> None:
    """Give another name, in one step; the name is on the medium when the call ends. An existing file gives way."""
    os.rename(old, new)
    sync(new.parent)


def remove(path: Path) -> None:
    """A file, or a folder with all in it; no error when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        if not path.is_dir() or path.is_symlink():
            os.unlink(path)
            return
        for inside in sorted(path.iterdir()):
            remove(inside)
        os.rmdir(path)


def find_free_name(wanted: Path) -> Path:
    """`wanted`, or that name with the lowest number from 2 on that nothing has yet."""
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Whether this process has the file now; the kernel takes the lock back when the process ends, however it ends.

    `wait`: until whoever has it lets go. Raises `OSError` where the file system cannot lock, which is not the same as
    being too late.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def write_atomic(path: Path, text: str) -> None:
    """A text file that is there whole or not at all."""
    draft = path.with_name(DRAFT + path.name)
    with explaining_os_errors(path):
        remove(draft)
        with new_file(draft) as descriptor:
            write(descriptor, text.encode("utf-8", "backslashreplace"))
        rename(draft, path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `path` when all of it is on the medium."""
    draft, old = path.with_name(DRAFT + path.name), path.with_name(f"{DRAFT}old-{path.name}")
    with explaining_os_errors(path):
        remove(draft)
        remove(old)
        make_folder(draft)
        yield draft
        sync_all(draft)
        if path.exists():
            rename(path, old)
        rename(draft, path)
        remove(old)


@contextlib.contextmanager
def explaining_os_errors(
    path: Path, *, fix: str = "make room or mend the disk; then the same command goes on from the last checkpoint"
) -> Iterator[None]:
    """What the disk refuses is one message, with its own exit code, whichever kind of error tells it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = _RUST.search(str(error))
        if not isinstance(error, OSError) and told is None:
            raise
        reason = getattr(error, "strerror", None) or (os.strerror(int(told[1])) if told else str(error))
        raise UserError(f"cannot write: {reason}", where=str(path), fix=fix, code=ExitCode.DISK) from None


@contextlib.contextmanager
def unchanged_while_reading(path: Path) -> Iterator[None]:
    """Inside, the file is read; one that is another afterwards, or has another size or time, is a `UserError`.

    What looks malformed then may only be half written, so this is said in place of it.
    """
    before = _state(path)
    try:
        yield
    except UserError:
        _require_same(path, before)
        raise
    _require_same(path, before)


def _require_same(path: Path, before: tuple[int, ...]) -> None:
    if _state(path) != before:
        fix = "wait until nothing writes to it, then the same command again"
        raise UserError("the file changed while it was read", where=str(path), fix=fix, code=ExitCode.BAD_DATA) from None


def _state(path: Path) -> tuple[int, ...]:
    """Empty where there is no such file: whoever reads it says so."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
