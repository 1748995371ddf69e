"""What a listener says without a terminal, and standard error that nobody reads any more: the work goes on, and what is
wanted on standard output comes whole."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import finewright
from finewright.cli import console as terminal
from finewright.cli import progress
from support import hearing

TALK = """
from finewright.cli import {room}, console
listener = {room}.{name}(console.ErrorConsole())
for number in range(3):
    listener(f"sentence {{number}}")
listener.close()
console.ErrorConsole().print("done")
console.print_json({{"whole": True}})
"""


@pytest.fixture
def unread():
    """A pipe that nobody reads any more."""
    reads, writes = os.pipe()
    os.close(reads)
    yield writes
    os.close(writes)


def talked(code, *, errors):
    """Exit code and standard output of a process that speaks on `errors`."""
    outcome = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, check=False)
    return outcome.returncode, outcome.stdout


@pytest.mark.parametrize(("room", "name"), [("progress", "Listener"), ("compare_view", "CompareListener")])
def test_a_reader_who_leaves_takes_nothing_along(unread, room, name):
    code, out = talked(TALK.format(room=room, name=name), errors=unread)
    assert json.loads(out) == {"whole": True}
    assert code == 0, "nothing that was left unsaid fails at the very end either"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_place_that_takes_no_more_takes_nothing_along():
    with open("/dev/full", "w") as errors:
        code, out = talked(TALK.format(room="progress", name="Listener"), errors=errors)
    assert (code, json.loads(out)) == (0, {"whole": True})


def test_a_console_whose_reader_left_is_silent(unread, monkeypatch):
    with open(os.dup(unread), "w") as errors:
        monkeypatch.setattr(sys, "stderr", errors)
        console = terminal.ErrorConsole()
        console.print("x" * 100)
        assert console.quiet
        console.print("y")


def test_every_command_speaks_through_that_console():
    for path in Path(finewright.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "Console(stderr" not in text, path.name
        assert not re.search(r"(?<![\w.])Console\(\)", text), f"{path.name}: its reader may leave, see OutputConsole"


@pytest.mark.parametrize(("words", "code"), [("methods", 0), ("methods --json", 0), ("learn check 1", 1), ("show nowhere", 2)])
def test_a_reader_who_leaves_does_not_change_how_a_command_ends(unread, tmp_path, words, code):
    command = [sys.executable, "-m", "finewright"]
    if words.startswith("learn"):
        subprocess.run([*command, "learn", "start", "1"], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([*command, *words.split()], cwd=tmp_path, stdout=unread, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr, "Exception ignored" in done.stderr) == (code, False, False), done.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no list of the signals that a process hears")
def test_a_signal_before_all_is_loaded_ends_it_with_its_code(tmp_path):
    slow = tmp_path / "typer.py"
    slow.write_text("import time; time.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    child = subprocess.Popen([sys.executable, "-m", "finewright"], env=environment, stderr=subprocess.PIPE, text=True)
    while not hearing.hears(child.pid, signal.SIGTERM):
        time.sleep(0.01)
    child.terminate()
    assert child.communicate()[1] == ""
    assert child.returncode == 128 + signal.SIGTERM


@dataclass
class Stepped:
    """As the engine's, told apart by its name."""

    step: int
    num_steps: int = 130
    result: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(loss=1.5))


def test_the_time_that_is_left_counts_from_the_first_step_of_this_life(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    listener = progress.Listener(console)
    for step, seconds in ((101, 20), (111, 20)):  # a run that goes on after a hundred steps
        now[0] += seconds
        listener(Stepped(step))
    first, second = console.file.getvalue().splitlines()
    assert first.strip() == "step 101/130  loss 1.500"  # nothing is known of its pace yet
    assert second.endswith("about 38 s left")  # 20 s for ten steps, nineteen to go


DESTROYED = """
import os, signal, sys, time
from finewright.cli import main, signals

class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)

def work():
    Held()
    time.sleep(30)
    print("it went on")

main.app = work
main.main()
"""


def test_a_signal_inside_a_destructor_is_not_lost():
    """Python drops what is raised there, and would print a traceback of it."""
    done = subprocess.run([sys.executable, "-c", DESTROYED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "stopped\n")


def test_other_faults_of_destructors_are_still_told():
    words = DESTROYED.replace("os.kill(os.getpid(), signal.SIGTERM)", "raise ValueError('odd')").replace("time.sleep(30)", "")
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "it went on\n")
    assert "ValueError: odd" in done.stderr


OVERDUE = """
import os, signal, sys, time
from finewright.cli import signals
from finewright.core.interrupts import Interrupted

class Destroyed:
    def __del__(self):
        while not self.begun or time.monotonic() < self.begun + {grace} + 0.3:
            pass

signals.GRACE_S = {grace}
signals.stop_on_signals()
try:
    with signals.STOP.between_steps(), signals.STOP.dropping() as keep:
        os.kill(os.getpid(), signal.SIGTERM)
        one = Destroyed()
        one.begun = time.monotonic()
        del one
        time.sleep(30)
except Interrupted as wish:
    sys.exit(signals.say_stopped(wish))
"""


def test_a_wish_that_is_overdue_inside_a_destructor_is_not_lost_either():
    done = subprocess.run(
        [sys.executable, "-c", OVERDUE.format(grace=0.1)], capture_output=True, text=True, timeout=60, check=False
    )
    waits = "stopping after this step; once more stops at once\n"
    assert (done.returncode, done.stdout, done.stderr) == (143, "", f"{waits}stopped\n")


ARMED = """
import atexit, os, signal
from finewright.cli import main, signals

def work():
    with signals.STOP.between_steps():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getitimer(signal.ITIMER_REAL)[0]

atexit.register(lambda: print(signal.getitimer(signal.ITIMER_REAL)))
main.app = work
main.main()
"""


def test_however_a_command_ends_no_alarm_is_left():
    """When Python takes its handlers away one would end the process."""
    done = subprocess.run([sys.executable, "-c", ARMED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "(0.0, 0.0)\n")


def test_saving_is_told_apart_because_the_plan_leaves_it_out():
    took = {"train_seconds": 20.0, "planned_seconds": 15.0}
    assert progress.time_in_words({**took, "saving_seconds": 4.0}) == "16.0 s (planned 15.0 s, -6%), and 4.0 s of saving"
    assert progress.time_in_words({**took, "saving_seconds": 0.1}) == "19.9 s (planned 15.0 s, -25%)"
    assert progress.time_in_words({"train_seconds": 20.0}) == "20.0 s"
