"""What a listener says without a terminal, and standard error that nobody reads any more: the work goes on, and what is
wanted on standard output comes whole."""

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import finewright
from finewright import terminal

TALK = """
from finewright import {room}, terminal
listener = {room}.{name}(terminal.ErrorConsole())
for number in range(3):
    listener(f"sentence {{number}}")
listener.close()
terminal.ErrorConsole().print("done")
terminal.print_json({{"whole": True}})
"""


def talked(code, *, errors):
    """Exit code and standard output of a process that speaks on `errors`."""
    outcome = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, check=False)
    return outcome.returncode, outcome.stdout


@pytest.mark.parametrize(("room", "name"), [("terminal", "Listener"), ("scoreboard", "CompareListener")])
def test_a_reader_who_leaves_takes_nothing_along(room, name):
    reads, writes = os.pipe()
    os.close(reads)
    code, out = talked(TALK.format(room=room, name=name), errors=writes)
    os.close(writes)
    assert json.loads(out) == {"whole": True}
    assert code == 0, "nothing that was left unsaid fails at the very end either"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_place_that_takes_no_more_takes_nothing_along():
    with open("/dev/full", "w") as errors:
        code, out = talked(TALK.format(room="terminal", name="Listener"), errors=errors)
    assert (code, json.loads(out)) == (0, {"whole": True})


def test_a_console_whose_reader_left_is_silent(monkeypatch):
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as errors:
        monkeypatch.setattr(sys, "stderr", errors)
        console = terminal.ErrorConsole()
        console.print("x" * 100)
        assert console.quiet
        console.print("y")


def test_every_command_speaks_through_that_console():
    for path in Path(finewright.__file__).parent.glob("*.py"):
        assert "Console(stderr" not in path.read_text(), path.name


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
