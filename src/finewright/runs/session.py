"""One life of a run: the same run as in its earlier lives, gone on from where they got to, logged, committed, ended on wish."""

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
from finewright.runs import fingerprint
from finewright.runs.checkpoint_manager import CheckpointManager
from finewright.runs.folder import RunFolder
from finewright.runs.request import Change
from finewright.training import loop
from finewright.training.state import TrainState, get_random_state, set_random_state

LEAP = 10.0
"""A gradient so many times as long as the median of the last ones is said, once in a life."""
REMEMBERED, LEAST_REMEMBERED = 100, 20


class Session:
    """From the facts of a run to the end of its training. `changes`: what `--change` asks for now."""

    facts: dict[str, Any]
    state: TrainState
    keeper: CheckpointManager

    def __init__(self, folder: RunFolder, *, changes: Sequence[Change], stop: StopRequest, notify: Callable[[str], None]) -> None:
        self.folder, self.stop, self.notify = folder, stop, notify
        self.changes = [change.as_json() for change in changes]
        self.logging_steps = 1
        self.max_grad_norm = 0.0
        self._norms: deque[float] = deque(maxlen=REMEMBERED)
        self._leapt = False

    def insist_same(self, found: dict[str, Any], *, dataset: Dataset) -> None:
        """A run that goes on must be the one that was begun: what differs is told, before anything is loaded."""
        self.facts = found
        if kept := self.folder.earlier.get("facts"):
            fingerprint.check_same_run(kept, found, dataset=dataset, where=str(self.folder.path))

    def begin(
        self,
        prepared_model: PreparedModel,
        *,
        schedule: loop.TrainingSchedule,
        settings: RunConfig,
        described: Mapping[str, Any],
        result_bytes: int,
    ) -> None:
        """The state before the first step, or that of the newest checkpoint; config.json says what will be done.

        `described`: what config.json holds besides the order, the facts and the changes. `result_bytes`: size of what the run
        will leave.
        """
        torch.manual_seed(settings.seed)
        self.state = loop.start_state(prepared_model, schedule)
        self.logging_steps, self.max_grad_norm = settings.training.logging_steps, schedule.max_grad_norm
        every_steps = settings.training.save_steps
        self.keeper = CheckpointManager(
            self.folder, self.state, facts=self.facts, environment=hardware.environment(), every_steps=every_steps
        )
        earlier = self.folder.earlier
        changes = [*earlier.get("changes", []), *self.changes]
        self.keeper.changes = changes
        if earlier:
            self.keeper.restore(notify=self.notify)
        self.keeper.require_room(result_bytes=result_bytes)
        for change in self.changes:
            change["step"] = self.state.progress.step
            self.notify(f"changed: {change['option']} {change['from']} → {change['to']}")
        if self.changes or "facts" not in earlier:
            kept = self.folder.read_json(self.folder.config)
            choices = kept.get("choices", described["choices"])  # a later life finds most knobs settled
            self.folder.write_json(
                self.folder.config, {**kept, **described, "choices": choices, "facts": self.facts, "changes": changes}
            )
        self.keeper.start()

    def hear(self, event: events.Event) -> None:
        """Log what happened; commit where it is time to."""
        commit = self.stop.requested
        if isinstance(event, events.StepCompleted):
            self._log_step(event)
            self._say_leap(event)
            commit = commit or (not event.looks and self.keeper.due())
        elif isinstance(event, events.EvaluationCompleted):
            flat = {key: event.metrics[key] for key in ("accuracy", "macro_f1", "loss")}
            self.folder.append(self.folder.metrics, {"step": event.step, "epoch": event.epoch, "validation": flat})
            commit = commit or event.best or self.keeper.due()
        elif isinstance(event, events.MicroBatchesSplit):
            what = f"out of memory in step {event.step}: from here on the texts of an update go through in smaller passes"
            self.notify(f"{what} ({event.num_passes} in this one); the updates stay the same")
            return
        else:
            commit = True
        if commit:
            self.keeper.commit()

    def _log_step(self, event: events.StepCompleted) -> None:
        if event.step % self.logging_steps and event.step != event.num_steps:
            return
        result = event.result
        line = {"step": event.step, "epoch": event.epoch, "loss": result.loss, "lr": event.lr, "grad_norm": result.grad_norm}
        self.folder.append(self.folder.metrics, line)
        self.folder.append(self.folder.timings, {"step": event.step, "seconds": self.keeper.seconds})

    def _say_leap(self, event: events.StepCompleted) -> None:
        norm, known = event.result.grad_norm, self._norms
        if not self._leapt and len(known) >= LEAST_REMEMBERED and norm > LEAP * (usual := statistics.median(known)):
            self._leapt = True
            what = f"the gradient of step {event.step} is {norm:.3g} long, the median of the last {len(known)} is {usual:.3g}"
            clipped = (
                f"it was clipped to training.max_grad_norm = {self.max_grad_norm:g}; " if norm > self.max_grad_norm > 0 else ""
            )
            self.notify(f"warning: {what}; {clipped}a lower learning rate is calmer")
        known.append(norm)

    def end_if_wished(self) -> None:
        """Between two events: what was done is committed, so a wish to stop can be granted."""
        if self.stop.requested:
            raise Interrupted(self.stop.number)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Inside, a wish to stop waits for the end of a step; however it is granted, what was done is committed."""
        try:
            with self.stop.deferred():
                yield
            self.end_if_wished()  # it may have come after the last event
        except Interrupted:
            if self.state.progress.step:
                self.keeper.commit()
            raise

    @contextmanager
    def updating(self, optimizer: torch.optim.Optimizer, watched: AbstractContextManager[None]) -> Iterator[None]:
        """Around an update. Until the optimizer begins, one that a wish to stop cannot wait for is dropped: the weights are
        still those of the update before, and the random numbers become so."""
        kept = get_random_state(self.state.device)
        try:
            with self.stop.abortable() as keep, _before_step(optimizer, keep), watched:
                yield
        except Interrupted:
            set_random_state(kept)
            raise


@contextmanager
def _before_step(optimizer: torch.optim.Optimizer, call: Callable[..., None]) -> Iterator[None]:
    hook = optimizer.register_step_pre_hook(call)
    try:
        yield
    finally:
        hook.remove()
