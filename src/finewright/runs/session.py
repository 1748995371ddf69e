"""One session of a run: start or resume training, log it, save checkpoints, and end it on a stop request."""

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from finewright.core import events, hardware
from finewright.core.config import RunConfig
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.data.dataset import Dataset
from finewright.models.prepared import PreparedModel
from finewright.runs import fingerprint, schema
from finewright.runs.checkpoint_manager import CheckpointManager
from finewright.runs.folder import RunFolder
from finewright.runs.request import Change
from finewright.runs.schema import MetricsLine, RunConfigFile, TimingsLine
from finewright.training import loop
from finewright.training.state import TrainState, get_random_state, set_random_state

LONG_GRADIENT_FACTOR = 10.0
"""A gradient norm this many times the median of the last ones causes a warning, once in a session."""
MOST_NORMS, LEAST_NORMS = 100, 20
"""How many of the last gradient norms are kept, and how many there must be before one can be called long."""


class Session:
    """Training in one process, from the check of the fingerprint to the last step. `changes`: those of `--change`."""

    fingerprint: dict[str, Any]
    state: TrainState
    checkpoints: CheckpointManager

    def __init__(self, folder: RunFolder, *, changes: Sequence[Change], stop: StopRequest, notify: Callable[[str], None]) -> None:
        self.folder, self.stop, self.notify = folder, stop, notify
        self.changes = [change.as_json() for change in changes]
        self.logging_steps = 1
        self.logged_metrics: Sequence[str] = ()
        self.max_grad_norm = 0.0
        self._norms: deque[float] = deque(maxlen=MOST_NORMS)
        self._has_warned = False

    def check_same_run(self, found: dict[str, Any], *, dataset: Dataset) -> None:
        """Raise `UserError` if the run that is resumed differs from the one that was started. `found`: its fingerprint now."""
        self.fingerprint = found
        if self.folder.earlier and (then := self.folder.earlier.fingerprint):
            fingerprint.check_same_run(then, found, dataset=dataset, where=str(self.folder.path))

    def start(
        self,
        prepared_model: PreparedModel,
        *,
        schedule: loop.TrainingSchedule,
        settings: RunConfig,
        described: Mapping[str, Any],
        result_bytes: int,
    ) -> None:
        """Build the state before the first step, or restore that of the newest checkpoint, and complete config.json.

        `described`: what config.json holds besides the request, the fingerprint and the changes. `result_bytes`: size of the
        files that the run will leave.
        """
        torch.manual_seed(settings.seed)
        self.state = loop.start_state(prepared_model, schedule)
        self.logging_steps, self.max_grad_norm = settings.training.logging_steps, schedule.max_grad_norm
        every_steps = settings.training.save_steps
        self.checkpoints = CheckpointManager(
            self.folder, self.state, fingerprint=self.fingerprint, environment=hardware.environment(), every_steps=every_steps
        )
        earlier = self.folder.earlier
        changes = [*(earlier.changes if earlier else ()), *self.changes]
        self.checkpoints.changes = changes
        if earlier:
            self.checkpoints.restore(notify=self.notify)
        self.checkpoints.check_disk_space(result_bytes=result_bytes)
        for change in self.changes:
            change["step"] = self.state.progress.step
            self.notify(f"changed: {change['option']} {change['from']} → {change['to']}")
        if self.changes or earlier is None or earlier.fingerprint is None:
            now = {**described, "fingerprint": self.fingerprint, "changes": changes}
            if earlier is not None and earlier.choices:
                now.pop("choices")  # a resumed run finds most options already chosen
            saved = schema.read(RunConfigFile, self.folder.config)
            self.folder.write(self.folder.config, RunConfigFile.model_validate({**saved.model_dump(), **now}))
        self.checkpoints.start()

    def handle_event(self, event: events.Event) -> None:
        """Log the event and save a checkpoint where one is due."""
        commit = self.stop.requested
        if isinstance(event, events.StepCompleted):
            self._log_step(event)
            self._warn_of_long_gradient(event)
            commit = commit or (not event.looks and self.checkpoints.is_due())
        elif isinstance(event, events.EvaluationCompleted):
            flat = {key: event.metrics[key] for key in self.logged_metrics}
            self.folder.append(MetricsLine(step=event.step, epoch=event.epoch, validation=flat))
            commit = commit or event.best or self.checkpoints.is_due()
        elif isinstance(event, events.MicroBatchesSplit):
            what = f"out of memory in step {event.step}: from here on an update is computed in smaller micro-batches"
            self.notify(f"{what} ({event.num_passes} in this one); the updates stay the same")
            return
        else:
            commit = True
        if commit:
            self.checkpoints.commit()

    def _log_step(self, event: events.StepCompleted) -> None:
        if event.step % self.logging_steps and event.step != event.num_steps:
            return
        result = event.result
        self.folder.append(
            MetricsLine(step=event.step, epoch=event.epoch, loss=result.loss, lr=event.lr, grad_norm=result.grad_norm)
        )
        self.folder.append(TimingsLine(step=event.step, seconds=self.checkpoints.seconds))

    def _warn_of_long_gradient(self, event: events.StepCompleted) -> None:
        norm, norms = event.result.grad_norm, self._norms
        if (
            not self._has_warned
            and len(norms) >= LEAST_NORMS
            and norm > LONG_GRADIENT_FACTOR * (median := statistics.median(norms))
        ):
            self._has_warned = True
            what = f"the gradient of step {event.step} is {norm:.3g} long, the median of the last {len(norms)} is {median:.3g}"
            clipped = (
                f"it was clipped to training.max_grad_norm = {self.max_grad_norm:g}; " if norm > self.max_grad_norm > 0 else ""
            )
            self.notify(f"warning: {what}; {clipped}a lower learning rate makes training more stable")
        norms.append(norm)

    def stop_if_requested(self) -> None:
        """Raise `Interrupted` if a stop was requested. Between two events everything done so far is committed."""
        if self.stop.requested:
            raise Interrupted(self.stop.number)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Inside, a stop request waits for the end of a step; what was done is committed before `Interrupted` leaves."""
        try:
            with self.stop.deferred():
                yield
            self.stop_if_requested()  # it may have come after the last event
        except Interrupted:
            if self.state.progress.step:
                self.checkpoints.commit()
            raise

    @contextmanager
    def updating(self, optimizer: torch.optim.Optimizer, watched: AbstractContextManager[None]) -> Iterator[None]:
        """Around an update. Until the optimizer step begins, a stop request that cannot wait abandons the update: the weights
        are still those of the update before, and the random state is set back to it."""
        random_state = get_random_state(self.state.device)
        try:
            with self.stop.abortable() as finish_update, _before_step(optimizer, finish_update), watched:
                yield
        except Interrupted:
            set_random_state(random_state)
            raise


@contextmanager
def _before_step(optimizer: torch.optim.Optimizer, call: Callable[..., None]) -> Iterator[None]:
    hook = optimizer.register_step_pre_hook(call)
    try:
        yield
    finally:
        hook.remove()
