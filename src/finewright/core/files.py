"""All writes of a run to disk, in few functions, so that tests can count, refuse and replay each of them."""

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
"""Prefix of the name of a file or folder that is not complete yet."""
_NOT_SUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)
"""Errors of file systems that lack a call."""
_RUST = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust report a system error, in exceptions of their own types."""


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[int]:
    """Open a file that must not exist yet, as a descriptor. Its content is on the medium when the block ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        yield descriptor
        _flush(descriptor)
    finally:
        os.close(descriptor)


def write(descriptor: int, data: Bytes) -> None:
    """Write all of `data`: one system call may take only a part."""
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(descriptor, left) :]


def append(path: Path, data: Bytes) -> None:
    """Append `data` to a file. The name of a new file is on the medium at return, the data not yet."""
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
    """Flush to the medium. On macOS `fsync` leaves data in the drive's cache; F_FULLFSYNC does not, but may be missing."""
    whole = getattr(fcntl, "F_FULLFSYNC", None)
    if whole is not None:
        try:
            fcntl.fcntl(descriptor, whole)
            return
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
    os.fsync(descriptor)


def sync_all(folder: Path) -> None:
    """Sync a folder and all in it."""
    for inside in [*sorted(folder.rglob("*")), folder]:
        sync(inside)


def sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Create a folder and its parents. The names of all new ones are on the medium at return."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    os.makedirs(path, exist_ok=True)
    for folder in reversed(new):
        sync(folder.parent)


def rename(old: Path, new: Path) -> None:
    """Rename atomically and replace an existing file. The name is on the medium at return."""
    os.rename(old, new)
    sync(new.parent)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        if not path.is_dir() or path.is_symlink():
            os.unlink(path)
            return
        for inside in sorted(path.iterdir()):
            remove(inside)
        os.rmdir(path)


def find_free_name(wanted: Path) -> Path:
    """Return `wanted`, or that name with the lowest number from 2 on that is free."""
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock a file and return whether that worked. The kernel releases the lock when the process ends, however it ends.

    `wait`: until the holder releases it. Raise `OSError` if the file system cannot lock, unlike when another process holds
    the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_open_file(path: Path, descriptor: int) -> bool:
    """Return whether the path still leads to the open file, such as one that was locked."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def write_atomic(path: Path, text: str) -> None:
    """Write a text file that is complete or not there at all."""
    draft = path.with_name(DRAFT + path.name)
    with explaining_os_errors(path):
        remove(draft)
        with new_file(draft) as descriptor:
            write(descriptor, text.encode("utf-8", "backslashreplace"))
        rename(draft, path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write into. It replaces `path` once all of it is on the medium."""
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
    path: Path, *, fix: str = "free space or repair the disk; the same command then continues from the last checkpoint"
) -> Iterator[None]:
    """Turn any error of the disk, of whatever type, into one `UserError` with its own exit code."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = _RUST.search(str(error))
        if not isinstance(error, OSError) and found is None:
            raise
        reason = getattr(error, "strerror", None) or (os.strerror(int(found[1])) if found else str(error))
        raise UserError(f"cannot write: {reason}", where=str(path), fix=fix, code=ExitCode.DISK) from None


@contextlib.contextmanager
def unchanged_while_reading(path: Path) -> Iterator[None]:
    """Raise `UserError` if the file, its size or its time changed inside the block.

    A file that looks malformed may only be half written, so this error replaces one about its content.
    """
    before = _state(path)
    try:
        yield
    except UserError:
        _check_same(path, before)
        raise
    _check_same(path, before)


def _check_same(path: Path, before: tuple[int, ...]) -> None:
    if _state(path) != before:
        fix = "wait until nothing writes to it, then repeat the command"
        raise UserError("the file changed while it was read", where=str(path), fix=fix, code=ExitCode.BAD_DATA) from None


def _state(path: Path) -> tuple[int, ...]:
    """Return the identity, size and time of a file; empty if there is none: reading it raises the error."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def access_error(error: OSError, path: Path, doing: str) -> UserError:
    """Return the error to raise when the system refuses to read or write."""
    fix = "let this user read and write it, or repair the disk; then the same command continues"
    return UserError(f"cannot {doing} here: {error.strerror}", where=str(path), fix=fix, code=ExitCode.DISK)
