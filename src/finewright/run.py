"""The run folder: create, lock, append a metric, finish, open, list. It owns every file name in it."""

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from finewright.errors import ExitCode, UserError

RUNS = Path("runs")
_LOCK = ".lock"
_LEFTOVERS = {_LOCK, "checks.json", "config.json", "plan.json"}
"""What a run leaves that stopped before training: its folder may be used again."""


class RunFolder:
    """One run on disk. `result.json` is written last: its existence means that the run is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.plan = path / "plan.json"
        self.checks = path / "checks.json"
        self.metrics = path / "metrics.jsonl"
        self.timings = path / "timings.jsonl"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.predictions = path / "predictions.jsonl"
        self.result = path / "result.json"
        self._lock: IO[str] | None = None

    @property
    def complete(self) -> bool:
        """Whether the run came to its end and proved itself."""
        return self.result.exists()

    def lock(self) -> None:
        """Hold the run for this process; the kernel lets go of the lock when the process ends, however it ends."""
        handle = open(self.path / _LOCK, "a+", encoding="utf-8")  # noqa: SIM115  held until release
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            handle.close()
            raise UserError(
                f"locked by {holder}", where=str(self.path), fix="wait for it, or choose another --out", code=ExitCode.MISMATCH
            ) from None
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        handle.flush()
        self._lock = handle

    def release(self) -> None:
        """Let others have the run; a folder in which nothing was begun goes away."""
        if self._lock:
            self._lock.close()
            self._lock = None
            if {path.name for path in self.path.iterdir()} == {_LOCK}:
                (self.path / _LOCK).unlink()
                self.path.rmdir()

    def write_json(self, path: Path, value: Any) -> None:
        """Write a JSON file whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        with open(partial, "w", encoding="utf-8", errors="backslashreplace") as handle:
            json.dump(value, handle, indent=2, ensure_ascii=False, allow_nan=False)
            handle.write("\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)

    def append(self, path: Path, line: dict[str, Any]) -> None:
        """Add one line to a JSON-lines file."""
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as handle:
            handle.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def write_lines(self, path: Path, lines: Iterable[dict[str, Any]]) -> None:
        """Write a JSON-lines file whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        with open(partial, "w", encoding="utf-8", errors="backslashreplace") as handle:
            handle.writelines(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
        os.replace(partial, path)

    def read_lines(self, path: Path) -> list[dict[str, Any]]:
        """A JSON-lines file of this run; absent or broken is a `UserError`."""
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        except (OSError, ValueError) as error:
            raise UserError(f"not readable: {error}", where=str(path), fix="train it again", code=ExitCode.MISMATCH) from None

    def read_json(self, path: Path) -> Any:
        """A JSON file of this run; absent or broken is a `UserError`."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"the run has no {path.name}", where=str(self.path), fix="train it again", code=ExitCode.MISMATCH
            ) from None
        except ValueError as error:
            raise UserError(f"not readable: {error}", where=str(path), fix="train it again", code=ExitCode.MISMATCH) from None


def new_folder(*, out: Path | None, name: str) -> Path:
    """An empty folder for several runs: `out`, or `runs/<name>` with a number when that is taken."""
    path = out or _free(RUNS / name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UserError("the folder is not empty", where=str(path), fix="choose another --out")
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(path), fix="choose another --out") from None
    return path


def create(*, out: Path | None, name: str) -> RunFolder:
    """A new, locked run folder: `out`, or `runs/<name>` with a number when that is taken. Made before anything heavy."""
    path = out or _free(RUNS / (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "run"))
    try:
        if path.exists() and not (path.is_dir() and {item.name for item in path.iterdir()} <= _LEFTOVERS):
            raise UserError("the folder is not empty", where=str(path), fix="choose another --out")
        path.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(path)
        folder.lock()
        folder.checks.unlink(missing_ok=True)
        folder.config.unlink(missing_ok=True)
        folder.plan.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(path), fix="choose another --out") from None
    return folder


def _free(wanted: Path) -> Path:
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


def open_run(path: Path) -> RunFolder:
    """A complete run; a folder that is none, or a run that did not finish, is a `UserError`."""
    folder = RunFolder(path)
    if not _is_run(folder):
        nearby = ", ".join(str(run.path) for run in list_runs(RUNS)[:5]) or "none yet"
        raise UserError("no run here", where=str(path), fix=f"known runs: {nearby}")
    if not folder.complete:
        raise UserError(
            "the run did not finish: it has no result.json", where=str(path), fix="train it again", code=ExitCode.MISMATCH
        )
    return folder


def list_runs(root: Path) -> list[RunFolder]:
    """Every run below `root`, by name."""
    return [folder for folder in map(RunFolder, sorted(root.glob("*"))) if _is_run(folder)]


def _is_run(folder: RunFolder) -> bool:
    """A model's folder has a config.json too, but no checks.json."""
    return folder.config.exists() and folder.checks.exists()
