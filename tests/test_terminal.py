"""What a run's listener says where there is no terminal to draw a bar in."""

import io
from dataclasses import dataclass, field
from types import SimpleNamespace

from rich.console import Console

from finewright import terminal


@dataclass
class Stepped:
    """As the engine's, told apart by its name."""

    step: int
    num_steps: int = 130
    result: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(loss=1.5))


def test_the_time_that_is_left_counts_from_the_first_step_of_this_life(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    listener = terminal.Listener(console)
    for step, seconds in ((101, 20), (111, 20)):  # a run that goes on after a hundred steps
        now[0] += seconds
        listener(Stepped(step))
    first, second = console.file.getvalue().splitlines()
    assert first.strip() == "step 101/130  loss 1.500"  # nothing is known of its pace yet
    assert second.endswith("about 38 s left")  # 20 s for ten steps, nineteen to go
