"""A folder that one process at a time may write to: its lock, and files that are complete or not there at all."""

import contextlib
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, ClassVar

from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.runs import schema

LOCK = ".lock"


def check_no_file(path: Path) -> None:
    """Raise `UserError` if there is a file where a folder is wanted."""
    if path.is_file():
        raise UserError("is a file; wanted a folder", where=str(path), fix="choose another --out")


class LockedFolder:
    """The folder of a run or of a comparison."""

    owner: ClassVar[str]
    """What the folder is, in messages."""
    files_before_start: ClassVar[frozenset[str]] = frozenset({LOCK})
    """While the folder has nothing else, nothing was started in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Lock the folder for this process; the kernel releases the lock when the process ends, however it ends."""
        while True:
            handle = open(self.path / LOCK, "a+", encoding="utf-8")  # noqa: SIM115  held until release
            if not self._try_lock(handle):
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                handle.close()
                fix = "wait for it, or choose another --out"
                raise UserError(f"locked by {holder}", where=str(self.path), fix=fix, code=ExitCode.MISMATCH)
            if files.is_open_file(self.path / LOCK, handle.fileno()):
                break
            handle.close()  # the process that held it removed the file in between
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        handle.flush()
        self._lock = handle

    def _try_lock(self, handle: IO[str]) -> bool:
        """Return whether this process has the lock now; raise `UserError` if the file system has no locks."""
        try:
            return files.lock(handle.fileno())
        except OSError as error:
            handle.close()
            what = f"the file system cannot lock the {self.owner} for this process: {error.strerror}"
            fix = "choose an --out on a disk of this machine"
            raise UserError(what, where=str(self.path), fix=fix, code=ExitCode.DISK) from None

    def release(self) -> None:
        """Release the lock; remove the folder if nothing was started in it."""
        if self._lock is None:
            return
        try:
            with contextlib.suppress(OSError):
                if {path.name for path in self.path.iterdir()} <= self.files_before_start:
                    files.remove(self.path)
        finally:
            self._lock.close()
            self._lock = None

    def check_folder(self) -> None:
        """Raise `UserError` if the folder was removed, moved or replaced since it was locked: what is written then would be part
        of another one under the name of a complete one."""
        if self._lock is None or files.is_open_file(self.path / LOCK, self._lock.fileno()):
            return
        what = f"the {self.owner}'s folder was removed or replaced"
        fix = "put it back, then the same command continues where it was; without it everything starts from the beginning"
        raise UserError(what, where=str(self.path), fix=fix, code=ExitCode.DISK)

    def write(self, path: Path, artifact: schema.Artifact) -> None:
        """Write a file of the folder atomically."""
        self.check_folder()
        schema.write(path, artifact)

    def write_lines(self, path: Path, lines: Iterable[schema.Artifact]) -> None:
        """Write a JSON-lines file of the folder atomically."""
        self.check_folder()
        schema.write_lines(path, lines)
