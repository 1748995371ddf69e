"""What happens at every event of training: the run's log, its warnings and its checkpoints."""

import statistics
from collections import deque
from collections.abc import Callable, Sequence

from finewright.core import events
from finewright.core.interrupts import StopRequest
from finewright.runs.checkpoint_manager import CheckpointManager
from finewright.runs.folder import RunFolder
from finewright.runs.schema import MetricsLine, TimingsLine

SPIKE_FACTOR = 10.0
"""A gradient norm this many times the median of the last ones causes a warning, once in a session."""
MOST_NORMS, LEAST_NORMS = 100, 20
"""How many of the last gradient norms are kept, and how many there must be before one can be called a spike."""

Warn = Callable[[str], None]


class MetricsLogger:
    """Writes metrics.jsonl and timings.jsonl: every `logging_steps`-th update, and `metrics` of every evaluation."""

    def __init__(self, folder: RunFolder, checkpoints: CheckpointManager, *, logging_steps: int, metrics: Sequence[str]) -> None:
        self.folder, self.checkpoints = folder, checkpoints
        self.logging_steps, self.metrics = logging_steps, metrics

    def __call__(self, event: events.Event) -> None:
        """Log the event."""
        if isinstance(event, events.EvaluationCompleted):
            measured = {name: event.metrics[name] for name in self.metrics if name in event.metrics}
            self.folder.append(MetricsLine(step=event.step, epoch=event.epoch, validation=measured))
        elif isinstance(event, events.StepCompleted) and (event.step % self.logging_steps == 0 or event.step == event.num_steps):
            result = event.result
            self.folder.append(
                MetricsLine(step=event.step, epoch=event.epoch, loss=result.loss, lr=event.lr, grad_norm=result.grad_norm)
            )
            self.folder.append(TimingsLine(step=event.step, seconds=self.checkpoints.seconds))


class GradientSpikeWarning:
    """Warns once of a gradient that is much longer than the last ones."""

    def __init__(self, warn: Warn, *, max_grad_norm: float) -> None:
        self.warn, self.max_grad_norm = warn, max_grad_norm
        self._norms: deque[float] = deque(maxlen=MOST_NORMS)
        self._has_warned = False

    def __call__(self, event: events.Event) -> None:
        """Compare the gradient of an update with those before it."""
        if not isinstance(event, events.StepCompleted):
            return
        norm, norms = event.result.grad_norm, self._norms
        if not self._has_warned and len(norms) >= LEAST_NORMS and norm > SPIKE_FACTOR * (median := statistics.median(norms)):
            self._has_warned = True
            what = f"the gradient of step {event.step} is {norm:.3g} long, the median of the last {len(norms)} is {median:.3g}"
            clipped = (
                f"it was clipped to training.max_grad_norm = {self.max_grad_norm:g}; " if norm > self.max_grad_norm > 0 else ""
            )
            self.warn(f"{what}; {clipped}a lower learning rate makes training more stable")
        norms.append(norm)


class SplitNotice:
    """Says when memory ran out in an update and it is computed in smaller micro-batches."""

    def __init__(self, notify: Warn) -> None:
        self.notify = notify

    def __call__(self, event: events.Event) -> None:
        """Say it."""
        if isinstance(event, events.MicroBatchesSplit):
            what = f"out of memory in step {event.step}: from here on an update is computed in smaller micro-batches"
            self.notify(f"{what} ({event.num_micro_batches} in this one); the updates stay the same")


class CheckpointCallback:
    """Saves a checkpoint where one is due, after the best evaluation, at the end, and before a requested stop."""

    def __init__(self, checkpoints: CheckpointManager, stop: StopRequest) -> None:
        self.checkpoints, self.stop = checkpoints, stop

    def __call__(self, event: events.Event) -> None:
        """Save a checkpoint if one is due."""
        if isinstance(event, events.MicroBatchesSplit):  # in the middle of an update
            return
        ends = isinstance(event, events.TrainingStopped)
        is_best = isinstance(event, events.EvaluationCompleted) and event.best
        waits = isinstance(event, events.StepCompleted) and event.evaluates  # the evaluation that follows may be the best
        if self.stop.requested or ends or is_best or (not waits and self.checkpoints.is_due()):
            self.checkpoints.commit()
