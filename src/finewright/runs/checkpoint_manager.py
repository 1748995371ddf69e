"""When the state of training is saved, and how it is restored."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finewright.core import files, jsonl
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import Notify
from finewright.runs import checkpoint, fingerprint
from finewright.runs.checkpoint import Checkpoint
from finewright.runs.folder import RunFolder
from finewright.runs.schema import Change
from finewright.training.memory_meter import MemoryMeter
from finewright.training.state import TRAINED, Progress, TrainState, set_weights

BEST = "best"
LEAST_SECONDS = 60.0
"""Without `training.save_steps`: the least time between two checkpoints,"""
MOST_SHARE = 0.015
"""and the largest share of the time that saving may take. With logs and checks, reliability costs less than 2%."""
CADENCE = f"at least {LEAST_SECONDS:.0f} s apart, and so rarely that saving takes at most {MOST_SHARE:.1%} of the time"


class CheckpointManager:
    """Saves and restores one run's `TrainState`. `seconds`: training time of all sessions; `saving_seconds`: time to save.

    `meter`: the run's peak memory, which is saved and restored too.
    """

    def __init__(
        self,
        folder: RunFolder,
        state: TrainState,
        *,
        fingerprint: Mapping[str, Any],
        environment: Mapping[str, Any],
        every_steps: int | None,
        meter: MemoryMeter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.state = folder, state
        self.fingerprint, self.environment = fingerprint, environment
        self.every_steps, self.meter, self.clock = every_steps, meter, clock
        self.newest: Checkpoint | None = None
        self.changes: Sequence[Change] = ()
        self.num_sessions, self.seconds_before, self.saving_seconds = 1, 0.0, 0.0
        self._started_at = self._saved_at = clock()
        self._save_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Training time of all sessions."""
        return self.seconds_before + self.clock() - self._started_at

    def restore(self, *, notify: Notify) -> bool:
        """Restore the newest intact checkpoint and return whether there was one; without one training starts from the beginning.

        `changes` explain why a checkpoint may have another schedule.
        """
        root = self.folder.checkpoints
        found = checkpoint.load_latest(root, notify=notify, fault_of=self._find_fault)
        if found is None:
            if checkpoint.has_any(root):
                notify("no usable checkpoint is left: training starts from the beginning")
            self._truncate_logs({})
            return False
        saved = found.metadata
        fingerprint.check_schedule(saved["run"]["schedule"], self.fingerprint["schedule"], self.changes, where=str(found.path))
        warnings = fingerprint.environment_warnings(saved["environment"], self.environment)
        self.state.restore({group: found.tensors(group) for group in self.state.tensors()}, Progress.from_json(saved["progress"]))
        self._truncate_logs(saved["logs"])
        self.newest = found
        self.num_sessions, self.seconds_before = saved["totals"]["sessions"] + 1, saved["totals"]["seconds"]
        self.saving_seconds = saved["totals"]["saving_seconds"]
        self.meter.peak_bytes = max(self.meter.peak_bytes, saved["totals"]["peak_bytes"])
        notify(f"continues after step {found.step:,}, from {found.path.name}")
        for sentence in warnings:
            notify(sentence, level="warning", code="environment")
        return True

    def start(self) -> None:
        """Start to measure the time of this session."""
        self._started_at = self._saved_at = self.clock()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, time is none of training."""
        began = self.clock()
        try:
            yield
        finally:
            self._started_at += self.clock() - began

    def is_due(self) -> bool:
        """Whether it is time to save a checkpoint."""
        if self.every_steps is not None:
            return self.state.progress.step % self.every_steps == 0
        return self.clock() - self._saved_at >= max(LEAST_SECONDS, self._save_seconds / MOST_SHARE)

    def commit(self) -> None:
        """Save the state, unless this step is saved already. Raise `UserError` if a weight is not finite."""
        progress, best = self.state.progress, self.state.progress.best
        self.folder.check_folder()
        if self.newest and self.newest.step == progress.step:
            return
        if not self.state.finite():
            what = f"after step {progress.step} trained weights are not finite; they are not saved"
            raise UserError(what, fix="lower the learning rate (--lr)", code=ExitCode.NON_FINITE)
        start = self.clock()
        with files.explaining_os_errors(self.folder.path):
            metadata = self._metadata()
            files.sync(self.folder.path)  # a killed session may not have synced the names in it
        self.newest = checkpoint.save_checkpoint(
            self.folder.checkpoints,
            step=progress.step,
            groups=self.state.tensors(),
            metadata=metadata,
            carried={} if best is None or best.step == progress.step else {BEST: self._locate_best(best.step)},
        )
        self._saved_at = self.clock()
        self._save_seconds = self._saved_at - start
        self.saving_seconds += self._save_seconds

    def summary(self) -> dict[str, Any]:
        """Return what result.json holds of it."""
        known = {"saving_seconds": self.saving_seconds, "sessions": self.num_sessions}
        return {**known, "micro_batch_splits": self.state.progress.micro_batch_splits, "changes": list(self.changes)}

    def restore_best(self) -> int:
        """Restore the weights that scored best on validation and return their step."""
        best = self.state.progress.best
        if best is None or best.step == self.state.progress.step:
            return self.state.progress.step
        found, group = self._locate_best(best.step)
        set_weights(self.state.prepared_model, found.tensors(group))
        return best.step

    def check_disk_space(self, *, result_bytes: int) -> None:
        """Raise `UserError` if checkpoints and result will not fit on the disk."""
        trained = checkpoint.size_bytes({TRAINED: self.state.tensors()[TRAINED]})
        needed = (checkpoint.KEEP_LAST + 1) * 4 * trained + result_bytes  # weights, two moments, the best ones
        free = self.folder.free_bytes() + sum(file.stat().st_size for file in self.folder.checkpoints.glob("*/*"))
        if free < needed:
            what = f"checkpoints and result take up to {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
            raise UserError(
                what, where=str(self.folder.path), fix="free some disk space, or choose another --out", code=ExitCode.DISK
            )

    def _locate_best(self, step: int) -> tuple[Checkpoint, str]:
        assert self.newest is not None, "the best weights were saved at their step"
        return self.newest, TRAINED if self.newest.step == step else BEST

    def _metadata(self) -> dict[str, Any]:
        totals = {"sessions": self.num_sessions, "seconds": self.seconds, "saving_seconds": self.saving_seconds}
        return {
            "run": fingerprint.summarise(self.fingerprint),
            "environment": self.environment,
            "progress": self.state.progress.as_json(),
            "totals": totals | {"peak_bytes": self.meter.peak_bytes},
            "logs": {log.stem: jsonl.digest(log) for log in self._logs},
        }

    def _find_fault(self, saved: Mapping[str, Any]) -> str:
        """Return why a checkpoint cannot be used: it is of another run, or the log before it has changed. Empty if it can."""
        now = fingerprint.summarise(self.fingerprint)
        if other := fingerprint.differences(saved["run"], now) or saved["run"]["data"] != now["data"]:
            return f"it is of another run ({'; '.join(other[:3]) if isinstance(other, list) else 'other data'})"
        return jsonl.check(self.folder.metrics, saved["logs"][self.folder.metrics.stem])

    @property
    def _logs(self) -> tuple[Path, Path]:
        return self.folder.metrics, self.folder.timings

    def _truncate_logs(self, sealed: Mapping[str, Any]) -> None:
        for log in self._logs:
            jsonl.truncate(log, sealed.get(log.stem, {"bytes": 0})["bytes"])
