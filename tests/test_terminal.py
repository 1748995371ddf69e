"""Standard error that nobody reads any more: the work goes on, and what is wanted on standard output comes whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
