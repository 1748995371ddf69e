"""Output without a terminal, closed pipes and full devices: the work continues, and standard output is complete."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import finewright
from finewright.cli import console as terminal
from finewright.cli import progress
from finewright.core.events import StepCompleted, StepResult
from support.comparisons import run_result, split_metrics
from support.signals import has_handler

PRINTING = """
from finewright.cli import {module}, console
display = {module}.{name}(console.ErrorConsole())
for number in range(3):
    display(f"sentence {{number}}")
display.close()
console.ErrorConsole().print("done")
console.print_json({{"whole": True}})
"""


@pytest.fixture
def closed_pipe():
    """The writing end of a pipe whose reading end is closed."""
    reads, writes = os.pipe()
    os.close(reads)
    yield writes
    os.close(writes)


def run_code(code, *, errors):
    """Return exit code and standard output of a process with standard error `errors`."""
    outcome = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, check=False)
    return outcome.returncode, outcome.stdout


@pytest.mark.parametrize(("module", "name"), [("progress", "ProgressDisplay"), ("compare_view", "ComparisonDisplay")])
def test_a_closed_standard_error_does_not_stop_the_work(closed_pipe, module, name):
    code, out = run_code(PRINTING.format(module=module, name=name), errors=closed_pipe)
    assert json.loads(out) == {"whole": True}
    assert code == 0, "flushing at exit does not fail either"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_standard_error_does_not_stop_the_work():
    with open("/dev/full", "w") as errors:
        code, out = run_code(PRINTING.format(module="progress", name="ProgressDisplay"), errors=errors)
    assert (code, json.loads(out)) == (0, {"whole": True})


def test_a_console_with_a_closed_pipe_is_silent(closed_pipe, monkeypatch):
    with open(os.dup(closed_pipe), "w") as errors:
        monkeypatch.setattr(sys, "stderr", errors)
        console = terminal.ErrorConsole()
        console.print("x" * 100)
        assert console.quiet
        console.print("y")


def test_every_command_prints_through_these_consoles():
    for path in Path(finewright.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "Console(stderr" not in text, path.name
        assert not re.search(r"(?<![\w.])Console\(\)", text), f"{path.name}: use OutputConsole, which handles a closed pipe"


@pytest.mark.parametrize(("words", "code"), [("methods", 0), ("methods --json", 0), ("learn check 1", 1), ("show nowhere", 2)])
def test_a_closed_standard_output_does_not_change_the_exit_code(closed_pipe, tmp_path, words, code):
    command = [sys.executable, "-m", "finewright"]
    if words.startswith("learn"):
        subprocess.run([*command, "learn", "start", "1"], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(
        [*command, *words.split()], cwd=tmp_path, stdout=closed_pipe, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr, "Exception ignored" in done.stderr) == (code, False, False), done.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no list of the signals that a process handles")
def test_a_signal_during_import_ends_the_process_with_its_code(tmp_path):
    slow = tmp_path / "typer.py"
    slow.write_text("import time; time.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    child = subprocess.Popen([sys.executable, "-m", "finewright"], env=environment, stderr=subprocess.PIPE, text=True)
    while not has_handler(child.pid, signal.SIGTERM):
        time.sleep(0.01)
    child.terminate()
    assert child.communicate()[1] == ""
    assert child.returncode == 128 + signal.SIGTERM


def test_remaining_time_counts_from_the_first_step_of_this_session(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    display = progress.ProgressDisplay(console)
    for step, seconds in ((101, 20), (111, 20)):  # a run resumed after a hundred steps
        now[0] += seconds
        display(StepCompleted(step, 130, 1.0, 1e-3, StepResult(1.5, 1.0, 100, 10, applied=True)))
    first, second = console.file.getvalue().splitlines()
    assert first.strip() == "step 101/130  loss 1.500"  # its speed is not known yet
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
    print("it continued")

main.app = work
main.main()
"""


def test_a_signal_inside_a_destructor_is_not_lost():
    """Python drops what is raised there and prints a traceback."""
    done = subprocess.run([sys.executable, "-c", DESTROYED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "stopped\n")


def test_other_errors_in_destructors_are_still_printed():
    words = DESTROYED.replace("os.kill(os.getpid(), signal.SIGTERM)", "raise ValueError('odd')").replace("time.sleep(30)", "")
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "it continued\n")
    assert "ValueError: odd" in done.stderr


OVERDUE = """
import os, signal, sys, time
from finewright.cli import signals
from finewright.core.interrupts import Interrupted

class Destroyed:
    def __del__(self):
        while not self.started or time.monotonic() < self.started + {grace} + 0.3:
            pass

signals.GRACE_S = {grace}
signals.stop_on_signals()
try:
    with signals.STOP.deferred(), signals.STOP.abortable() as keep:
        os.kill(os.getpid(), signal.SIGTERM)
        one = Destroyed()
        one.started = time.monotonic()
        del one
        time.sleep(30)
except Interrupted as stop_request:
    sys.exit(signals.report_stopped(stop_request))
"""


def test_a_stop_request_that_times_out_inside_a_destructor_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", OVERDUE.format(grace=0.1)], capture_output=True, text=True, timeout=60, check=False
    )
    waits = "stopping after this step; once more stops at once\n"
    assert (done.returncode, done.stdout, done.stderr) == (143, "", f"{waits}stopped\n")


ARMED = """
import atexit, os, signal
from finewright.cli import main, signals

def work():
    with signals.STOP.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getitimer(signal.ITIMER_REAL)[0]

atexit.register(lambda: print(signal.getitimer(signal.ITIMER_REAL)))
main.app = work
main.main()
"""


def test_no_alarm_is_left_when_a_command_ends():
    """One would end the process after Python has removed its handlers."""
    done = subprocess.run([sys.executable, "-c", ARMED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "(0.0, 0.0)\n")


def test_saving_is_shown_separately_because_the_plan_excludes_it():
    def describe(**changes):
        return progress.describe_time(run_result(train_seconds=20.0, **changes))

    assert describe(planned_seconds=15.0, saving_seconds=4.0) == "16.0 s (planned 15.0 s, -6%), and 4.0 s of saving"
    assert describe(planned_seconds=15.0, saving_seconds=0.1) == "19.9 s (planned 15.0 s, -25%)"
    assert describe(planned_seconds=0.0) == "20.0 s"


def test_a_run_without_test_rows_shows_its_validation_accuracy_as_such():
    table = Console(file=io.StringIO(), width=120)
    table.print(progress.result_table(run_result(metrics={"validation": split_metrics(0.7)})))
    assert "validation accuracy  0.700" in re.sub("  +", "  ", table.file.getvalue())
