"""A disk that fails or fills up at a chosen call. Everything that a run changes goes through `core.files`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finewright.core import files

CHANGES = ("open", "write", "fsync", "truncate", "makedirs", "rename", "unlink", "rmdir")


class Killed(BaseException):
    """The process is gone: nothing it still does reaches the disk."""


class FaultyOs:
    """A replacement of `os` in `core.files`. `fault(name, args)` is called before every changing call and may raise."""

    def __init__(self, fault: Callable[[str, tuple[Any, ...]], None]) -> None:
        self.fault = fault

    def __getattr__(self, name: str) -> Any:
        honest = getattr(os, name)
        if name not in CHANGES:
            return honest

        def called(*args: Any, **options: Any) -> Any:
            self.fault(name, args)
            return honest(*args, **options)

        return called


@contextmanager
def faulty(fault: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    """Inside, `core.files` uses such a system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", FaultyOs(fault))
        yield


class Kill:
    """The process ends at call number `at` (from 1), of which `torn` lets half a write happen; no later call has an effect."""

    def __init__(self, at: int, *, torn: bool = False) -> None:
        self.at, self.torn, self.calls = at, torn, 0

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        self.calls += 1
        if self.calls == self.at and self.torn and name == "write":
            os.write(args[0], bytes(args[1])[: len(args[1]) // 2])
        if self.calls >= self.at:
            raise Killed


class Refuse:
    """The system refuses call number `at` with an error number, and all later ones if `for_ever`."""

    def __init__(self, at: int, number: int, *, for_ever: bool) -> None:
        self.at, self.number, self.for_ever, self.calls = at, number, for_ever, 0

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        self.calls += 1
        if self.calls == self.at or (self.for_ever and self.calls > self.at):
            raise OSError(self.number, os.strerror(self.number))


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its content."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
