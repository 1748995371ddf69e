"""One session of a run: training in one process, from a new or a restored state to the last step or a requested stop."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from finewright.core import hardware
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.models.prepared import PreparedModel
from finewright.runs import schema
from finewright.runs.checkpoint_manager import CheckpointManager
from finewright.runs.context import RunContext
from finewright.runs.schema import RunConfigFile
from finewright.training import loop
from finewright.training.state import TrainState, get_random_state, set_random_state


@dataclass(frozen=True)
class Session:
    """The state that is trained, its checkpoints, and the request to stop."""

    state: TrainState
    checkpoints: CheckpointManager
    stop: StopRequest

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


def open_session(
    context: RunContext,
    prepared_model: PreparedModel,
    *,
    schedule: loop.TrainingSchedule,
    fingerprint: Mapping[str, Any],
    described: Mapping[str, Any],
    result_bytes: int,
) -> Session:
    """Build the state before the first step, or restore that of the newest checkpoint, and complete config.json.

    `described`: what config.json holds besides the request, the fingerprint and the changes. `result_bytes`: size of the files
    that the run will leave.
    """
    folder, settings, notify = context.folder, context.settings, context.notify
    torch.manual_seed(settings.seed)
    state = loop.start_state(prepared_model, schedule)
    checkpoints = CheckpointManager(
        folder,
        state,
        fingerprint=fingerprint,
        environment=hardware.environment(),
        every_steps=settings.training.save_steps,
        meter=context.meter,
    )
    earlier = folder.earlier
    past = earlier.changes if earlier else []
    checkpoints.changes = [*past, *context.changes]
    if earlier:
        checkpoints.restore(notify=notify)
    changes = [change.model_copy(update={"step": state.progress.step}) for change in context.changes]
    checkpoints.changes = [*past, *changes]
    checkpoints.check_disk_space(result_bytes=result_bytes)
    for change in changes:
        notify(f"changed: {change.option} {change.before} → {change.after}")
    if changes or earlier is None or earlier.fingerprint is None:
        now = {**described, "fingerprint": fingerprint, "changes": checkpoints.changes}
        if earlier is not None and earlier.choices:
            now.pop("choices")  # a resumed run finds most options already chosen
        saved = schema.read(RunConfigFile, folder.config)
        folder.write(folder.config, RunConfigFile.model_validate({**saved.model_dump(), **now}))
    checkpoints.start()
    return Session(state, checkpoints, context.stop)


@contextmanager
def _before_step(optimizer: torch.optim.Optimizer, call: Callable[..., None]) -> Iterator[None]:
    hook = optimizer.register_step_pre_hook(call)
    try:
        yield
    finally:
        hook.remove()
