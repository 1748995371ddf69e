"""When the state of training is committed, and how it comes back."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finewright.core import files, jsonl
from finewright.core.errors import ExitCode, UserError
from finewright.runs import checkpoint, fingerprint
from finewright.runs.checkpoint import Checkpoint
from finewright.runs.folder import RunFolder
from finewright.training.state import TRAINED, Progress, TrainState, set_weights

BEST = "best"
LEAST_SECONDS = 60.0
"""Without `checkpoint_steps`: checkpoints lie at least so far apart,"""
MOST_SHARE = 0.015
"""and so far that saving takes no larger share of the time: with logs and guards, all that reliability costs stays below 2 %."""
CADENCE = f"at least {LEAST_SECONDS:.0f} s apart, and so rarely that saving takes at most {MOST_SHARE:.1%} of the time"


class CheckpointManager:
    """Saves and restores one run's `TrainState`. `seconds`: spent training in all lives; `saving_seconds`: on commits."""

    def __init__(
        self,
        folder: RunFolder,
        state: TrainState,
        *,
        facts: Mapping[str, Any],
        environment: Mapping[str, Any],
        every_steps: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.state = folder, state
        self.facts, self.environment = facts, environment
        self.every_steps, self.clock = every_steps, clock
        self.newest: Checkpoint | None = None
        self.changes: Sequence[Mapping[str, Any]] = ()
        self.lives, self.seconds_before, self.saving_seconds, self.peak_bytes = 1, 0.0, 0.0, 0
        self._began = self._saved_at = clock()
        self._save_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Time since training began, over all lives."""
        return self.seconds_before + self.clock() - self._began

    def restore(self, *, notify: Callable[[str], None]) -> bool:
        """Go back to the newest commit that is whole; without one everything begins anew. Whether there was one.

        `changes` explain why a commit may have another schedule.
        """
        root = self.folder.checkpoints
        found = checkpoint.load_latest(root, notify=notify, fault_of=self._fault)
        if found is None:
            if checkpoint.any_begun(root):
                notify("no checkpoint is left that can be used: training begins anew")
            self._cut_logs({})
            return False
        kept = found.facts
        fingerprint.check_schedule(kept["run"]["schedule"], self.facts["schedule"], self.changes, where=str(found.path))
        tell_all = fingerprint.environment_warnings(kept["environment"], self.environment)
        self.state.restore({group: found.tensors(group) for group in self.state.tensors()}, Progress.from_json(kept["progress"]))
        self._cut_logs(kept["logs"])
        self.newest = found
        self.lives, self.seconds_before = kept["life"]["lives"] + 1, kept["life"]["seconds"]
        self.saving_seconds, self.peak_bytes = kept["life"]["saving_seconds"], kept["life"]["peak_bytes"]
        notify(f"goes on after step {found.step:,}, from {found.path.name}")
        for sentence in tell_all:
            notify(f"warning: {sentence}")
        return True

    def start(self) -> None:
        """The clock of this life begins."""
        self._began = self._saved_at = self.clock()

    def due(self) -> bool:
        """Whether it is time for a commit."""
        if self.every_steps is not None:
            return self.state.progress.step % self.every_steps == 0
        return self.clock() - self._saved_at >= max(LEAST_SECONDS, self._save_seconds / MOST_SHARE)

    def commit(self) -> None:
        """Save the state, unless it is saved; numbers that are none are a `UserError` and never on disk."""
        progress, best = self.state.progress, self.state.progress.best
        self.folder.require_there()
        if self.newest and self.newest.step == progress.step:
            return
        if not self.state.finite():
            what = f"after step {progress.step} trained weights are no numbers; they are not saved"
            raise UserError(what, fix="lower the learning rate (--lr)", code=ExitCode.NON_FINITE)
        began = self.clock()
        with files.explaining_os_errors(self.folder.path):
            known = self._facts()
            files.sync(self.folder.path)  # a life that was killed may not have waited for the names in it
        self.newest = checkpoint.save_checkpoint(
            self.folder.checkpoints,
            step=progress.step,
            groups=self.state.tensors(),
            facts=known,
            carried={} if best is None or best.step == progress.step else {BEST: self._best_place(best.step)},
        )
        self._saved_at = self.clock()
        self._save_seconds = self._saved_at - began
        self.saving_seconds += self._save_seconds

    def summary(self) -> dict[str, Any]:
        """For result.json."""
        saved = {"saving_seconds": self.saving_seconds, "sessions": self.lives}
        return {**saved, "micro_batch_splits": self.state.progress.micro_batch_splits, "changes": list(self.changes)}

    def take_best(self) -> int:
        """Put the weights that did best on validation back; their step."""
        best = self.state.progress.best
        if best is None or best.step == self.state.progress.step:
            return self.state.progress.step
        place, group = self._best_place(best.step)
        set_weights(self.state.prepared_model, place.tensors(group))
        return best.step

    def require_room(self, *, result_bytes: int) -> None:
        """Refuse a run whose checkpoints, and the result beside them, will not fit on the disk."""
        trained = checkpoint.size_bytes({TRAINED: self.state.tensors()[TRAINED]})
        needed = (checkpoint.KEEP_LAST + 1) * 4 * trained + result_bytes  # weights, two moments, the best ones
        free = self.folder.free_bytes() + sum(file.stat().st_size for file in self.folder.checkpoints.glob("*/*"))
        if free < needed:
            what = f"checkpoints and result take up to {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
            raise UserError(what, where=str(self.folder.path), fix="make room, or --out elsewhere", code=ExitCode.DISK)

    def _best_place(self, step: int) -> tuple[Checkpoint, str]:
        assert self.newest is not None, "what did best was committed at its step"
        return self.newest, TRAINED if self.newest.step == step else BEST

    def _facts(self) -> dict[str, Any]:
        life = {"lives": self.lives, "seconds": self.seconds, "saving_seconds": self.saving_seconds}
        return {
            "run": fingerprint.summarise(self.facts),
            "environment": self.environment,
            "progress": self.state.progress.as_json(),
            "life": life | {"peak_bytes": self.peak_bytes},
            "logs": {log.stem: jsonl.digest(log) for log in self._logs},
        }

    def _fault(self, kept: Mapping[str, Any]) -> str:
        """Why a commit cannot be gone on from: it is another run's, or the log before it is not what it was."""
        now = fingerprint.summarise(self.facts)
        if other := fingerprint.differences(kept["run"], now) or kept["run"]["data"] != now["data"]:
            return f"it is of another run ({'; '.join(other[:3]) if isinstance(other, list) else 'other data'})"
        return jsonl.check(self.folder.metrics, kept["logs"][self.folder.metrics.stem])

    @property
    def _logs(self) -> tuple[Path, Path]:
        return self.folder.metrics, self.folder.timings

    def _cut_logs(self, sealed: Mapping[str, Any]) -> None:
        for log in self._logs:
            jsonl.truncate(log, sealed.get(log.stem, {"bytes": 0})["bytes"])
