"""A file that is read must stay what it is until it has been read."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from finewright.errors import ExitCode, UserError


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
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
