"""Warnings and stop requests of a session."""

from types import SimpleNamespace

import pytest

from finewright.core import events
from finewright.core.events import StepResult
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.runs import session
from finewright.runs.folder import RunFolder


def said_of(tmp_path, norms, *, max_grad_norm=0.0):
    said = []
    one = session.Session(RunFolder(tmp_path), changes=(), stop=StopRequest(), notify=said.append)
    one.max_grad_norm = max_grad_norm
    for step, norm in enumerate(norms, 1):
        result = StepResult(loss=1.0, grad_norm=norm, num_tokens=1, num_rows=1, applied=True)
        one._warn_of_long_gradient(events.StepCompleted(step=step, num_steps=len(norms), epoch=1.0, lr=1e-3, result=result))
    return said


def test_a_gradient_ten_times_as_long_as_usual_is_said_once(tmp_path):
    (found,) = said_of(tmp_path, [2.0] * 30 + [21.0, 2.0, 50.0])
    assert found.startswith("warning: the gradient of step 31 is 21 long, the median of the last 30 is 2")


@pytest.mark.parametrize("norms", [[2.0] * 30 + [19.0], [2.0] * 10 + [50.0]], ids=["not so much longer", "too early to tell"])
def test_others_are_not(tmp_path, norms):
    assert said_of(tmp_path, norms) == []


@pytest.mark.parametrize(
    ("max_grad_norm", "is_clipped"), [(1.0, True), (0.0, False), (30.0, False)], ids=["clipped", "off", "short enough"]
)
def test_it_was_clipped_is_said_when_it_was(tmp_path, max_grad_norm, is_clipped):
    (found,) = said_of(tmp_path, [2.0] * 30 + [21.0], max_grad_norm=max_grad_norm)
    assert ("clipped to training.max_grad_norm = 1" in found) == ("clipped" in found) == is_clipped
    assert found.endswith("a lower learning rate makes training more stable")


def test_a_stop_request_after_the_last_event_is_handled_too(tmp_path):
    one = session.Session(RunFolder(tmp_path), changes=(), stop=StopRequest(), notify=print)
    one.state, one.checkpoints, commits = SimpleNamespace(progress=SimpleNamespace(step=3)), SimpleNamespace(), []
    one.checkpoints.commit = lambda: commits.append("saved")
    with pytest.raises(Interrupted) as caught, one.stoppable():
        one.stop.request(2)
    assert (caught.value.number, commits) == (2, ["saved"])
