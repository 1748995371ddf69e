"""What holds for a whole session of a run, and how its stages speak to the user."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finewright import tasks
from finewright.core import hardware
from finewright.core.config import RunConfig
from finewright.core.errors import RESUME, UserError
from finewright.core.events import Callback, DownloadProgress, Level, MeasuredStage, Notice, Stage, StageStarted
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.core.program import quote_path
from finewright.data import checks
from finewright.data.checks import Finding
from finewright.data.dataset import Dataset, DatasetCache, Source
from finewright.runs.folder import RunFolder
from finewright.runs.request import BaselineRequest, RunRequest
from finewright.runs.schema import Change, ChecksFile
from finewright.tasks.base import Task

if TYPE_CHECKING:
    from finewright.planning.defaults import Decisions
    from finewright.training.memory_meter import MemoryMeter


@contextmanager
def released_at_end(folder: RunFolder) -> Iterator[None]:
    """Around a session of a run: errors and stop requests name the run, and its folder is released at the end."""
    try:
        yield
    except Interrupted as interrupted:
        interrupted.run = folder.path
        raise
    except UserError as error:
        resume = RESUME.replace("RUN", quote_path(folder.path))
        error.fix = error.fix.replace(RESUME, resume)
        if resume not in error.fix:
            folder.discard_refused()
        raise
    finally:
        folder.release()


def read_data(
    context: "SessionContext",
    data: tuple[Source, Source | None],
    *,
    shared: DatasetCache,
    check_task: Callable[[Task], None] = lambda task: None,
) -> tuple[Dataset, Task]:
    """Read the rows to train and to test on, and check them: the first stage of every run. `check_task`: may refuse the task."""
    earlier = shared.take_read_seconds()  # by the caller, who read the data before the libraries were loaded
    with context.stage("read"):
        kind = tasks.get_task(context.settings.task)
        dataset = shared.read(data[0], options=context.settings.data, test=data[1], row_kind=kind.row_kind)
        context.notify_all(dataset.notes, code="data")
        task = kind.for_dataset(dataset, config=context.settings)
        check_task(task)
        context.report(task.check_dataset(dataset))
    context.stage_seconds["read"] += earlier
    shared.take_read_seconds()  # the stage has measured this one
    return dataset, task


@dataclass(frozen=True)
class SessionContext:
    """What holds for a session of any run. `findings`: what was found in the data so far. `stage_seconds`: duration of every
    stage so far, in this session."""

    folder: RunFolder
    request: RunRequest | BaselineRequest
    stop: StopRequest
    on_event: Callback
    findings: list[Finding] = field(default_factory=list, kw_only=True)
    stage_seconds: dict[str, float] = field(default_factory=dict, kw_only=True)
    _aside: list[float] = field(default_factory=list, kw_only=True)
    """Seconds of parts that count as stages of their own, and not to the stage around them."""

    @property
    def settings(self) -> RunConfig:
        """All options but the method's."""
        return self.request.settings

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Around a stage: say that it starts, and measure how long it takes."""
        self.on_event(StageStarted(name))
        began, before = time.monotonic(), sum(self._aside)
        try:
            yield
        finally:
            self.stage_seconds[name] = time.monotonic() - began - (sum(self._aside) - before)

    @contextmanager
    def aside(self, name: MeasuredStage) -> Iterator[None]:
        """Around a part of a stage that is no work of this stage: measure it as a stage of its own, without an event."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._aside.append(time.monotonic() - began)
            self.stage_seconds[name] = self._aside[-1]

    def notify(self, message: str, *, level: Level = "info", code: str = "") -> None:
        """Pass a sentence on as an event."""
        self.on_event(Notice(message, level, code))

    def notify_all(self, messages: Iterable[str], *, level: Level = "info", code: str = "") -> None:
        """Pass sentences on as events."""
        for message in messages:
            self.notify(message, level=level, code=code)

    def report_download(self, name: str, done: int, total: int) -> None:
        """Pass the progress of a download on as an event."""
        self.on_event(DownloadProgress(name, done, total))

    def report(self, findings: Sequence[Finding]) -> None:
        """Save findings in checks.json, pass the warnings on, raise `UserError` on errors."""
        given = checks.apply_force(findings, force=self.settings.force)
        new = [finding for finding in given if finding not in self.findings]  # with `auto` each candidate is checked
        self.findings.extend(new)
        self._write_checks()
        checks.raise_on_errors(new)
        for finding in new:
            self.notify(f"{finding.message} → {finding.fix}", level="warning", code=finding.code)

    def save_example(self, pieces: Sequence[tuple[str, bool]]) -> None:
        """Save in checks.json what is trained of a training text, where tokens are the targets."""
        if pieces:
            self._write_checks([{"text": text, "trained": trained} for text, trained in pieces])

    def _write_checks(self, example: Sequence[dict[str, Any]] = ()) -> None:
        contents = {"findings": [one.as_json() for one in self.findings], "example": example}
        self.folder.write(self.folder.checks, ChecksFile.model_validate(contents))


@dataclass(frozen=True)
class RunContext(SessionContext):
    """What holds for a session that trains a network.

    `changes`: those of `--change`. `decisions`: device, precision and threads, with reasons. `meter`: the run's peak memory so
    far.
    """

    request: RunRequest
    changes: Sequence[Change]
    machine: hardware.Hardware
    precision: str
    decisions: "Decisions"
    meter: "MemoryMeter"
