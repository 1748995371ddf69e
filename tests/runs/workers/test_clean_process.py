"""A copy of a process that was made while it was clean."""

import os
import signal
from pathlib import Path

import pytest

from finewright.core.errors import ExitCode, UserError
from finewright.runs.workers.clean_process import CleanProcess

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # pytest-xdist has threads
known = []


def work(request):
    if request["kind"] == "fail":
        raise ValueError("first line\nlast words")
    if request["kind"] == "refuse":
        raise UserError("the cause", where="some/folder", fix="train it again", code=ExitCode.DISK)
    if request["kind"] == "long":
        raise ValueError("x" + 4000 * "é")  # what fits in the answer ends inside a character
    if request["kind"] == "exit":
        os._exit(3)
    if request["kind"] == "memory":
        raise MemoryError("none left")
    if request["kind"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    Path(request["out"]).write_text(f"{os.getpid()} {known}")


def test_it_is_another_process_and_knows_nothing_of_what_came_after(tmp_path, monkeypatch):
    clean = CleanProcess(work)
    monkeypatch.setattr(f"{__name__}.known", ["trained"])
    clean({"kind": "write", "out": str(tmp_path / "out")})
    clean.close()
    pid, _, seen = (tmp_path / "out").read_text().partition(" ")
    assert int(pid) != os.getpid()
    assert seen == "[]"


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("fail", "^last words$", ExitCode.MISMATCH),
        ("refuse", "^the cause$", ExitCode.DISK),
        ("long", "^xéé+", ExitCode.MISMATCH),
        ("exit", "ended without a message", ExitCode.MISMATCH),
        ("memory", "^none left$", ExitCode.OUT_OF_MEMORY),
        ("killed", "ended without a message", ExitCode.OUT_OF_MEMORY),
    ],
)
def test_what_it_could_not_do_is_a_fault(kind, message, code):
    clean = CleanProcess(work)
    with pytest.raises(UserError, match=message) as caught:
        clean({"kind": kind})
    assert caught.value.code == code
    clean.close()


def test_one_that_ended_before_the_request_is_a_fault_too():
    clean = CleanProcess(work)
    os.kill(clean._child, signal.SIGKILL)
    os.waitid(os.P_PID, clean._child, os.WEXITED | os.WNOWAIT)
    with pytest.raises(UserError, match="ended without a message") as caught:
        clean({"kind": "write", "text": "x" * (1 << 17)})
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
    clean.close()


def test_one_without_a_request_ends():
    clean = CleanProcess(work)
    child = clean._child
    clean.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
