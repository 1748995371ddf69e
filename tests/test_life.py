"""What a life says about its steps."""

import pytest

from finewright import engine, life
from finewright.run import RunFolder
from finewright.step import StepResult
from finewright.stop import Stop


def said_of(tmp_path, norms):
    said = []
    one = life.Life(RunFolder(tmp_path), changes=(), stop=Stop(), tell=said.append)
    for step, norm in enumerate(norms, 1):
        result = StepResult(loss=1.0, grad_norm=norm, num_tokens=1, num_rows=1, applied=True)
        one._say_leap(engine.Stepped(step=step, num_steps=len(norms), epoch=1.0, lr=1e-3, result=result))
    return said


def test_a_gradient_ten_times_as_long_as_usual_is_said_once(tmp_path):
    (found,) = said_of(tmp_path, [2.0] * 30 + [21.0, 2.0, 50.0])
    assert found.startswith("warning: the gradient of step 31 is 21 long, the median of the last 30 is 2")


@pytest.mark.parametrize("norms", [[2.0] * 30 + [19.0], [2.0] * 10 + [50.0]], ids=["not so much longer", "too early to tell"])
def test_others_are_not(tmp_path, norms):
    assert said_of(tmp_path, norms) == []
