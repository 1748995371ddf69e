"""Work in processes: whatever one does, the others continue, and every outcome is reported."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finewright.core.errors import ExitCode, UserError
from finewright.runs.workers.pool import WorkerPool


@pytest.fixture
def workers(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    made = WorkerPool(tmp_path / "log.txt", server="support.echo_forks")
    yield made
    made.close()


def single(request, ends):
    ends.append((yield request))


def work(workers, requests, *, jobs=1):
    """Return (outcome by id, all events)."""
    ends, heard = [], []
    workers.work([single(request, ends) for request in requests], jobs=jobs, on_event=heard.append)
    return {end["id"]: end for end in ends}, heard


def test_every_fault_is_reported_and_affects_nothing_else(workers):
    kinds = ["refuse", "surprise", "kill", "leave", "say"]
    ends, _ = work(workers, [{"id": kind, "kind": kind} for kind in kinds], jobs=2)
    assert ends["refuse"]["message"] == "wanted this, found that\n  → do so"
    assert ends["refuse"]["code"] == ExitCode.NON_FINITE
    assert ends["surprise"]["message"] == "KeyError: 'surprise'"
    assert ends["kill"]["message"] == "ended by signal 9 (SIGKILL), perhaps because memory ran out"
    assert ends["kill"]["code"] == ExitCode.OUT_OF_MEMORY
    assert ends["leave"]["message"] == "ended without a message"
    assert ends["say"]["event"] == "done"
    log = workers.log.read_text()
    assert "KeyError: 'surprise'" in log
    assert "something that a library prints" in log


def test_what_is_prepared_is_there_for_all_that_come_after(workers):
    workers.ask({"id": "p", "kind": "prepare", "say": "read once"})
    _, heard = work(workers, [{"id": str(number), "kind": "say"} for number in range(3)])
    told = [event for event in heard if event["event"] == "stepped"]
    assert [event["said"] for event in told] == [["read once"]] * 3
    assert len({event["parent"] for event in told}) == 1
    assert {event["threads"] for event in told} == {1}
    assert all(event["frozen"] for event in told), "what the server loaded is never collected again"


def test_a_fault_in_a_single_request_is_raised_with_its_code(workers):
    with pytest.raises(UserError, match="no such file") as caught:
        workers.ask({"id": "p", "kind": "prepare", "fault": "no such file"})
    assert caught.value.code == ExitCode.BAD_DATA


def test_as_many_as_requested_run_at_once(workers, tmp_path):
    place = tmp_path / "meeting"
    place.mkdir()
    requests = [{"id": str(number), "kind": "meet", "place": str(place), "number": 3} for number in range(3)]
    ends, _ = work(workers, requests, jobs=3)
    assert {end["event"] for end in ends.values()} == {"done"}


def test_a_sequence_receives_the_outcome_of_its_last_request(workers):
    seen = []

    def sequence(name):
        for number in range(3):
            outcome = yield {"id": f"{name}{number}", "kind": "refuse" if number == 1 else "say"}
            seen.append((outcome["id"], outcome["event"]))

    workers.work([sequence("a"), sequence("b")], jobs=1, on_event=lambda event: None)
    assert [pair for pair in seen if pair[0].startswith("a")] == [("a0", "done"), ("a1", "failed"), ("a2", "done")]
    assert seen[:2] == [("a0", "done"), ("b0", "done")], "sequences take turns"


def test_lines_of_many_processes_do_not_mix(workers):
    ends, heard = work(workers, [{"id": str(number), "kind": "chatter"} for number in range(4)], jobs=4)
    assert len(ends) == 4
    for identity in ends:
        assert [event["step"] for event in heard if event["id"] == identity and event["event"] == "stepped"] == list(range(200))


def test_a_long_message_is_cut_to_what_a_pipe_takes_atomically(workers):
    ends, _ = work(workers, [{"id": "a", "kind": "refuse", "more": 50_000}])
    assert ends["a"]["message"].startswith("wanted this, found that")
    assert len(ends["a"]["message"].encode()) < 4096


def test_closing_ends_running_work(workers, tmp_path):
    out = tmp_path / "pid"
    workers._send({"id": "w", "kind": "wait", "out": str(out)})
    while not (out.exists() and out.read_text()):
        time.sleep(0.01)
    workers.close()
    assert gone(int(out.read_text()))


def test_when_the_caller_is_killed_its_workers_end_too(tmp_path):
    out = tmp_path / "pid"
    code = (
        "import sys; from pathlib import Path; from finewright.runs.workers import pool;"
        f"one = pool.WorkerPool(Path({str(tmp_path / 'log')!r}), server='support.echo_forks');"
        f" one._send(dict(id='w', kind='wait', out={str(out)!r})); one._read_event()"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while not (out.exists() and out.read_text()):
        time.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 30
    while not gone(int(out.read_text())) and time.monotonic() < until:
        time.sleep(0.05)
    assert gone(int(out.read_text()))


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_a_server_that_ended_is_reported_with_its_last_line(tmp_path, monkeypatch):
    workers = WorkerPool(tmp_path / "log.txt", server="no_such_module_here")
    with pytest.raises(UserError, match=r"the worker process ended: .*No module named no_such_module_here"):
        workers.ask({"id": "a", "kind": "say"})
    workers.close()


def test_an_empty_log_is_removed(workers):
    work(workers, [{"id": "a", "kind": "refuse"}])
    workers.close()
    assert not workers.log.exists()
