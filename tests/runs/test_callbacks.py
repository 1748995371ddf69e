"""What is logged, warned of and saved at the events of training."""

from types import SimpleNamespace

import pytest

from finewright.core import events
from finewright.core.events import StepResult
from finewright.core.interrupts import StopRequest
from finewright.runs import callbacks
from finewright.runs.schema import MetricsLine, TimingsLine


def step_completed(step, *, norm=1.0, num_steps=10, evaluates=False):
    result = StepResult(loss=1.0, grad_norm=norm, num_tokens=1, num_rows=1, applied=True)
    return events.StepCompleted(step=step, num_steps=num_steps, epoch=1.0, lr=1e-3, result=result, evaluates=evaluates)


def warnings_of(norms, *, max_grad_norm=0.0):
    said = []
    warn = callbacks.GradientSpikeWarning(said.append, max_grad_norm=max_grad_norm)
    for step, norm in enumerate(norms, 1):
        warn(step_completed(step, norm=norm, num_steps=len(norms)))
    return said


def test_a_gradient_ten_times_as_long_as_usual_is_said_once():
    (found,) = warnings_of([2.0] * 30 + [21.0, 2.0, 50.0])
    assert found.startswith("the gradient of step 31 is 21 long, the median of the last 30 is 2")


@pytest.mark.parametrize("norms", [[2.0] * 30 + [19.0], [2.0] * 10 + [50.0]], ids=["not so much longer", "too early to tell"])
def test_others_are_not(norms):
    assert warnings_of(norms) == []


@pytest.mark.parametrize(
    ("max_grad_norm", "is_clipped"), [(1.0, True), (0.0, False), (30.0, False)], ids=["clipped", "off", "short enough"]
)
def test_it_was_clipped_is_said_when_it_was(max_grad_norm, is_clipped):
    (found,) = warnings_of([2.0] * 30 + [21.0], max_grad_norm=max_grad_norm)
    assert ("clipped to training.max_grad_norm = 1" in found) == ("clipped" in found) == is_clipped
    assert found.endswith("a lower learning rate makes training more stable")


def evaluation(*, best):
    measured = {"accuracy": 0.5, "loss": 1.0, "macro_f1": 0.4}
    return events.EvaluationCompleted(step=3, epoch=1.0, metrics=measured, best=best, metric="accuracy", shown="50.0%")


@pytest.mark.parametrize(
    ("event", "is_due", "requested", "commits"),
    [
        (step_completed(3), True, False, 1),
        (step_completed(3), False, False, 0),
        (step_completed(3, evaluates=True), True, False, 0),
        (step_completed(3, evaluates=True), True, True, 1),
        (evaluation(best=True), False, False, 1),
        (evaluation(best=False), False, False, 0),
        (evaluation(best=False), True, False, 1),
        (events.TrainingStopped(step=3, early=False), False, False, 1),
        (events.MicroBatchesSplit(step=3, num_micro_batches=2), True, True, 0),
    ],
)
def test_a_checkpoint_is_saved_where_one_is_due(event, is_due, requested, commits):
    saved, stop = [], StopRequest()
    if requested:
        stop.number = 15
    checkpoints = SimpleNamespace(is_due=lambda: is_due, commit=lambda: saved.append(event))
    callbacks.CheckpointCallback(checkpoints, stop)(event)
    assert len(saved) == commits


def test_every_nth_step_the_last_one_and_every_evaluation_are_logged():
    lines = []
    folder = SimpleNamespace(append=lines.append)
    logger = callbacks.MetricsLogger(folder, SimpleNamespace(seconds=4.5), logging_steps=4, metrics=("accuracy", "loss"))
    for step in range(1, 11):
        logger(step_completed(step))
    logger(evaluation(best=True))
    assert [line.step for line in lines if isinstance(line, TimingsLine)] == [4, 8, 10]
    assert lines[0] == MetricsLine(step=4, epoch=1.0, loss=1.0, lr=1e-3, grad_norm=1.0)
    assert lines[-1] == MetricsLine(step=3, epoch=1.0, validation={"accuracy": 0.5, "loss": 1.0})


def test_smaller_micro_batches_are_said():
    said = []
    callbacks.SplitNotice(said.append)(events.MicroBatchesSplit(step=3, num_micro_batches=4))
    assert said[0].startswith("out of memory in step 3: from here on an update is computed in smaller micro-batches (4 in this")
