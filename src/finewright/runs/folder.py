"""The run folder: create, append a metric, open, list. It owns every file name in it."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from finewright.core import files, jsonl
from finewright.core.errors import ExitCode, UserError
from finewright.core.program import quote_path
from finewright.data.tables import IN_MEMORY
from finewright.runs import schema
from finewright.runs.locked_folder import LOCK, LockedFolder, check_no_file
from finewright.runs.schema import MetricsLine, PredictionLine, RequestRecord, RunConfigFile, RunLine, TimingsLine

RUNS = Path("runs")
RUN_FILES = {LOCK, "checks.json", "config.json", "plan.json", "metrics.jsonl", "timings.jsonl", "checkpoints", "model"}
RUN_FILES |= {"predictions.jsonl", "result.json", "merged", "tags.json", "answers.svg"}
"""Files that a run may leave. A folder with the lock and nothing but these is a run."""


class RunFolder(LockedFolder):
    """One run on disk. `result.json` is written last: its existence means that the run is complete."""

    owner: ClassVar[str] = "run"
    files_before_start: ClassVar[frozenset[str]] = frozenset({LOCK, "config.json"})

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.earlier: RunConfigFile | None = None
        """config.json of an earlier session of the run that this one continues; None in the first session."""
        self.was_named = True
        """Whether the user named the folder. One that was named by the program does not outlive a run that is refused."""
        self.config = path / "config.json"
        self.plan = path / "plan.json"
        self.checks = path / "checks.json"
        self.metrics = path / MetricsLine.file
        self.timings = path / TimingsLine.file
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.predictions = path / PredictionLine.file
        self.result = path / "result.json"
        self.picture = path / "answers.svg"

    @property
    def file_names(self) -> set[str]:
        """Names of all files and folders that a run may have here."""
        return RUN_FILES

    @property
    def complete(self) -> bool:
        """Whether the run is finished and its model was verified."""
        return self.result.exists()

    @property
    def committed_step(self) -> int:
        """Step of the newest checkpoint, 0 without one. It may be damaged."""
        steps = [re.fullmatch(r"step-(\d+)", path.name) for path in self.checkpoints.glob("step-*")]
        return max((int(step[1]) for step in steps if step), default=0)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, damaged ones included."""
        return any(path for kind in ("step-*", ".bad-step-*") for path in self.checkpoints.glob(kind))

    def clear(self) -> None:
        """Remove the files of an earlier session that saved no checkpoint."""
        with files.explaining_os_errors(self.path):
            for path in sorted(self.path.iterdir()):
                if path.name != LOCK:
                    files.remove(path)

    def discard_refused(self) -> None:
        """Remove what a refused run has written before it began, unless the user named the folder: `release` removes the rest."""
        if self.was_named or self.earlier is not None:
            return
        with contextlib.suppress(OSError):  # the refusal is what the user must hear of, whatever became of the folder
            if {path.name for path in self.path.iterdir()} - {LOCK, "config.json", "checks.json", "plan.json"}:
                return
            files.remove(self.plan)
            files.remove(self.checks)

    def write_predictions(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write predictions.jsonl."""
        self.write_lines(self.predictions, map(PredictionLine.model_validate, lines))

    def append(self, line: RunLine) -> None:
        """Add one line to its file."""
        self.check_folder()
        jsonl.append(self.path / line.file, schema.dump_line(line))

    def free_bytes(self) -> int:
        """Return the free space on the disk of the run."""
        return shutil.disk_usage(self.path).free

    def read_lines(self, path: Path) -> list[dict[str, Any]]:
        """Return the lines of a JSON-lines file as plain values; raise `UserError` if it is absent or damaged."""
        return schema.read_json(path, lines=True)

    def read_json(self, path: Path) -> Any:
        """Return the contents of a JSON file as plain values; raise `UserError` if it is absent, unreadable or damaged."""
        return schema.read_json(path)


def new_folder(*, out: Path | None, name: str) -> Path:
    """Return an empty folder for several runs: `out`, or `runs/<name>` with a number when that is taken."""
    path = out or files.find_free_name(RUNS / name)
    check_no_file(path)
    try:
        files.make_folder(path)
        if any(path.iterdir()):
            raise UserError("the folder is not empty", where=str(path), fix="choose another --out")
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(path), fix="choose another --out") from None
    return path


def create_run(
    *, out: Path | None, name: str, differences: Callable[[RequestRecord], list[str]] = lambda record: []
) -> RunFolder:
    """Return a locked run folder: `out`, or `runs/<name>`, with a number if that is taken.

    An unfinished run continues in its folder if its request is the same (`differences` returns none); `earlier` is set then.
    A finished one is returned if `out` names it. Without `out`, folders that are locked, finished or of another request are
    skipped; with it they are a `UserError`.
    """
    if out is not None:
        return _open_folder(out, differences)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "run"
    number = 1
    while True:
        path = RUNS / (safe if number == 1 else f"{safe}-{number}")
        if not RunFolder(path).complete:
            try:
                folder = _open_folder(path, differences)
                folder.was_named = False
                return folder
            except UserError as taken:
                if taken.code == ExitCode.DISK or (taken.code == ExitCode.USAGE and not path.exists()):
                    raise  # the next name would fail too
        number += 1


def _open_folder(path: Path, differences: Callable[[RequestRecord], list[str]]) -> RunFolder:
    folder = RunFolder(path)
    try:
        check_no_file(path)
        if path.exists() and not _has_only_run_files(path):
            raise UserError("the folder is not empty", where=str(path), fix="choose another --out")
        _make_and_lock(folder)
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(path), fix="choose another --out") from None
    try:
        _resume_or_clear(folder, differences)
    except BaseException:
        folder.release()
        raise
    return folder


def _make_and_lock(folder: RunFolder) -> None:
    while True:
        files.make_folder(folder.path)
        try:
            folder.lock()
            return
        except FileNotFoundError:
            if folder.path.exists():
                raise
            # another process removed its folder in between, as nothing was started in it


def _resume_or_clear(folder: RunFolder, differences: Callable[[RequestRecord], list[str]]) -> None:
    """Set `earlier` if a locked folder holds a run with the same request; clear it if nothing was started."""
    if not folder.complete and not folder.has_checkpoint:
        folder.clear()
        return
    earlier = schema.read(RunConfigFile, folder.config)
    found = differences(earlier.request)
    if found:
        what = "the run that is here was asked for something else:\n" + "\n".join(f"  {line}" for line in found[:20])
        fix = "choose another --out"
        if not folder.complete:
            fix += f"; or `finewright train --resume {quote_path(folder.path)}`, with --change for what may change inside a run"
        raise UserError(what, where=str(folder.path), fix=fix, code=ExitCode.MISMATCH)
    folder.earlier = earlier


def reopen_run(path: Path) -> tuple[RunFolder, RequestRecord]:
    """Return an existing run, locked and with `earlier` set, and what was asked for.

    Raise `UserError` if there is none, or if its rows were in the memory of another process.
    """
    folder = RunFolder(path)
    try:
        if not path.is_dir() or not folder.config.exists():
            raise _no_run_error(path)
        folder.lock()
    except OSError as error:
        raise files.access_error(error, path, "write") from None
    try:
        folder.earlier = schema.read(RunConfigFile, folder.config)
        record = folder.earlier.request
        if any(str(source).startswith(IN_MEMORY) for source in (record.source, record.test)):
            what = "the run's rows were given in memory, and are not here"
            raise UserError(what, where=str(path), fix="call train(…) with the same rows and output_dir: it continues there")
    except BaseException:
        folder.release()
        raise
    return folder, record


def _has_only_run_files(path: Path) -> bool:
    names = {item.name for item in path.iterdir()}
    return not names or (LOCK in names and all(name in RUN_FILES or name.startswith(files.DRAFT) for name in names))


def to_run_path(given: object) -> Path:
    """Return the path of a run that was given in Python; raise `UserError` for anything that is no path."""
    if isinstance(given, str | os.PathLike) and "\0" not in (text := os.fsdecode(given)):
        return Path(text)
    raise UserError(f"wanted the folder of a run, found {given!r:.60}", where="run", fix="for instance runs/tickets-lora-seed0")


def open_run(path: Path) -> RunFolder:
    """Return a finished run; raise `UserError` if there is none or it did not finish."""
    folder = RunFolder(path)
    if not _is_run(folder):
        raise _no_run_error(path)
    if not folder.complete:
        fix = f"finewright train --resume {quote_path(path)}"
        raise UserError("the run did not finish: it has no result.json", where=str(path), fix=fix, code=ExitCode.MISMATCH)
    return folder


def open_any_run(path: Path) -> RunFolder:
    """Return a run, finished or not, without locking it; raise `UserError` if there is none."""
    folder = RunFolder(path)
    if not _is_run(folder):
        raise _no_run_error(path)
    return folder


def _no_run_error(path: Path) -> UserError:
    if path.is_file():
        fix = "give the run's folder; in `finewright predict RUN FILE` it comes first"
        return UserError("is a file; wanted the folder of a run", where=str(path), fix=fix)
    found = find_runs(RUNS)
    nearby = ", ".join(str(run.path) for run in found[:5]) or "none yet"
    more = f"; {len(found) - 5} more: `finewright runs`" if len(found) > 5 else ""
    return UserError("no run here", where=str(path), fix=f"known runs: {nearby}{more}")


def list_runs(root: Path) -> list[RunFolder]:
    """Return every run below `root`, by name."""
    return [folder for folder in map(RunFolder, sorted(root.glob("*"))) if _is_run(folder)]


def find_runs(root: Path) -> list[RunFolder]:
    """Return every run below `root` at any depth, those of comparisons too, by path. Links are not followed."""
    found = []
    for place, names, files_here in os.walk(root):
        folder = RunFolder(Path(place))
        if {"config.json", "checks.json"} <= {*files_here} and folder.path != root:
            names.clear()  # what is in a run is part of it
            found.append(folder)
        names[:] = sorted(name for name in names if not name.startswith("."))
    return sorted(found, key=lambda folder: folder.path)


def _is_run(folder: RunFolder) -> bool:
    """Whether it holds a run. A model's folder has a config.json too, but no checks.json."""
    return folder.config.exists() and folder.checks.exists()
