"""The run folder."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.core.files import DRAFT
from finewright.runs import folder as run_folder
from finewright.runs import schema
from finewright.runs.schema import ChecksFile, Decision, MetricsLine, PredictionLine, TimingsLine


def test_names_are_numbered_when_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "RUNS", tmp_path / "runs")
    names = []
    for _ in range(3):
        folder = run_folder.create_run(out=None, name="my data! (v2)/lora")
        folder.result.write_text("{}")
        names.append(folder.path.name)
        folder.release()
    assert names == ["my-data-v2-lora", "my-data-v2-lora-2", "my-data-v2-lora-3"]


def test_a_command_with_a_folder_whose_name_begins_with_a_hyphen_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run_folder.create_run(out=Path("-dash"), name="")
    folder.config.write_text("{}")
    folder.checks.write_text("{}")
    folder.release()
    with pytest.raises(UserError, match=r"finewright train --resume \./-dash"):
        run_folder.open_run(Path("-dash"))


def test_a_file_in_place_of_a_run_says_the_order(tmp_path):
    (tmp_path / "new.csv").write_text("text\nx\n")
    with pytest.raises(
        UserError, match=r"new.csv: is a file; wanted the folder of a run\n.*`finewright predict RUN FILE` it comes first"
    ):
        run_folder.open_run(tmp_path / "new.csv")


def test_two_processes_cannot_have_one_run(tmp_path):
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    folder.checks.write_text("{}")
    code = (
        f"from finewright.runs import folder as run; from pathlib import Path; run.RunFolder(Path({str(folder.path)!r})).lock()"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "locked by pid" in outcome.stderr
    folder.release()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_are_written_atomically(tmp_path):
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    folder.write(folder.checks, ChecksFile(findings=[]))
    before = folder.checks.read_text()
    with pytest.raises(ValueError, match="Out of range float"):
        folder.write(folder.checks, Decision(option="a", value=float("nan"), reason=""))
    assert folder.checks.read_text() == before
    folder.release()


def test_lines_are_written_as_given_and_read_through_their_model(tmp_path):
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    line = {"text": "größer", "label": "a", "predicted": "b", "probability": 0.1, "where": "t.csv:2", "reward": 1.5}
    folder.append(MetricsLine(step=1, epoch=0.5, loss=0.1))
    folder.append(MetricsLine(step=1, epoch=0.5, validation={"accuracy": 1.0}))
    folder.append(TimingsLine(step=1, seconds=2.0))
    folder.write_predictions([line])
    assert folder.metrics.read_text() == (
        '{"step": 1, "epoch": 0.5, "loss": 0.1}\n{"step": 1, "epoch": 0.5, "validation": {"accuracy": 1.0}}\n'
    )
    assert folder.timings.read_text() == '{"step": 1, "seconds": 2.0}\n'
    assert json.loads(folder.predictions.read_text()) == line
    assert [one.loss for one in schema.read_lines(MetricsLine, folder.metrics)] == [0.1, None]
    assert schema.read_lines(PredictionLine, folder.predictions)[0].predicted == "b"
    folder.predictions.write_text('{"text": "x"}\n')
    with pytest.raises(UserError, match=r"predictions\.jsonl: not readable: label: Field required"):
        schema.read_lines(PredictionLine, folder.predictions)
    folder.release()


def test_an_unfinished_run_is_not_opened(tmp_path):
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    folder.config.write_text("{}")
    folder.checks.write_text("{}")
    folder.release()
    with pytest.raises(UserError, match=r"the run did not finish: it has no result\.json") as caught:
        run_folder.open_run(folder.path)
    assert caught.value.code == ExitCode.MISMATCH
    folder.result.write_text("{}")
    assert run_folder.open_run(folder.path).complete
    assert [found.path for found in run_folder.list_runs(tmp_path)] == [folder.path]


def test_a_folder_that_is_no_run_names_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "RUNS", tmp_path)
    folder = run_folder.create_run(out=tmp_path / "good", name="")
    folder.config.write_text("{}")
    folder.checks.write_text("{}")
    folder.release()
    with pytest.raises(UserError, match=r"nothing: no run here\n.*good"):
        run_folder.open_run(tmp_path / "nothing")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write here|the folder is not empty"):
        run_folder.create_run(out=tmp_path / "file" / "below", name="")
    for make in (run_folder.create_run, run_folder.new_folder):
        with pytest.raises(UserError, match="file: is a file; wanted a folder"):
            make(out=tmp_path / "file", name="")


def test_a_folder_in_which_nothing_was_started_is_removed_and_leftovers_do_not_block(tmp_path):
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    folder.release()
    assert not folder.path.exists()
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    folder.checks.write_text("{}")
    folder.release()
    again = run_folder.create_run(out=tmp_path / "a", name="")
    assert not again.checks.exists()
    again.release()


def pair(path):
    """Two new processes want one run at the same moment: [(process, exit code it said)], the winner still at work."""
    start, go = os.pipe()
    told, notify = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(start, 1)  # returns when the other end is closed: for both at once
            code = 0
            try:
                folder = run_folder.create_run(out=path, name="")
                folder.checks.write_text("{}")
            except UserError as error:
                code = int(error.code)
            os.write(notify, f"{os.getpid()} {code}\n".encode())
            if code == 0:
                signal.pause()
            os._exit(0)
        children.append(child)
    for end in (start, go):
        os.close(end)
    os.close(notify)
    said = b""
    while said.count(b"\n") < 2:
        said += os.read(told, 100)
    os.close(told)
    return sorted((int(code), int(child)) for child, code in (line.split() for line in said.splitlines()))


def exactly_one_wins(tmp_path, *, pairs):
    for number in range(pairs):
        path = tmp_path / f"run{number}"
        if number % 2:
            path.mkdir()
        (first, winner), (second, loser) = pair(path)
        assert (first, second) == (0, ExitCode.MISMATCH)
        with pytest.raises(UserError, match=f"locked by pid {winner} on "):
            run_folder.create_run(out=path, name="")
        os.kill(winner, signal.SIGKILL)
        for child in (winner, loser):
            os.waitpid(child, 0)
        run_folder.create_run(out=path, name="").release()  # at once: no lock is left of a process that was killed


def test_of_two_that_start_at_once_exactly_one_wins(tmp_path):
    exactly_one_wins(tmp_path, pairs=10)


@pytest.mark.faults
def test_of_fifty_pairs_exactly_one_wins(tmp_path):
    exactly_one_wins(tmp_path, pairs=50)


def test_nothing_is_written_for_a_folder_that_was_removed_or_replaced(tmp_path):
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    folder.checks.write_text("{}")
    shutil.rmtree(folder.path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".lock").write_text("of another")
    line = MetricsLine(step=1, epoch=0.5)
    for write in (
        lambda: folder.write(folder.checks, ChecksFile(findings=[])),
        lambda: folder.append(line),
        lambda: folder.write_lines(folder.metrics, [line]),
    ):
        with pytest.raises(UserError, match="the run's folder was removed or replaced") as caught:
            write()
        assert caught.value.code == ExitCode.DISK
    assert [path.name for path in folder.path.iterdir()] == [".lock"]
    folder.release()


REQUEST = {"source": "t.csv", "test": None, "settings": {}, "method": "lora", "method_options": {}}


def finished(path):
    folder = run_folder.create_run(out=path, name="")
    for file in (folder.config, folder.checks, folder.result):
        file.write_text(json.dumps({"request": REQUEST} if file.name == "config.json" else {}))
    folder.release()
    return folder


def test_what_an_export_leaves_does_not_make_it_a_strange_folder(tmp_path):
    folder = finished(tmp_path / "a")
    (folder.path / "merged").mkdir()
    (folder.path / f"{DRAFT}merged-x").mkdir()
    again = run_folder.create_run(out=folder.path, name="")
    assert again.complete
    again.release()


@pytest.mark.parametrize("name", [".lock", "config.json"])
def test_a_run_that_cannot_be_written_or_read_is_the_disk_s_fault(tmp_path, name):
    """A folder in a file's place stops root too."""
    folder = finished(tmp_path / "a")
    (folder.path / name).unlink()
    (folder.path / name).mkdir()
    with pytest.raises(UserError, match="cannot (read|write) here: Is a directory") as caught:
        run_folder.reopen_run(folder.path)
    assert caught.value.code == ExitCode.DISK


def test_a_run_over_rows_of_another_process_is_refused_and_released(tmp_path):
    folder = finished(tmp_path / "a")
    saved = json.loads(folder.config.read_text())
    folder.config.write_text(json.dumps(saved | {"request": saved["request"] | {"test": "in memory (0123)"}}))
    with pytest.raises(UserError, match="the run's rows were given in memory"):
        run_folder.reopen_run(folder.path)
    folder.lock()  # nobody holds it
    folder.release()


def test_leftovers_that_cannot_be_removed_are_the_disk_s_fault(tmp_path, monkeypatch):
    folder = run_folder.create_run(out=tmp_path / "a", name="")
    folder.checks.write_text("{}")

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files, "remove", refuse)
    with pytest.raises(UserError, match="Permission denied") as caught:
        folder.clear()
    assert caught.value.code == ExitCode.DISK
    folder.release()


@pytest.mark.parametrize("out", ["a", None], ids=["named", "unnamed"])
def test_a_disk_that_cannot_lock_is_said_once(tmp_path, monkeypatch, out):
    """It is no other process, and the next name would not help."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(run_folder, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match="cannot lock the run for this process: No locks available") as caught:
        run_folder.create_run(out=out and tmp_path / out, name="a")
    assert caught.value.code == ExitCode.DISK


def test_a_folder_that_another_process_removes_meanwhile_is_made_again(tmp_path, monkeypatch):
    path, honest, calls = tmp_path / "run", files.make_folder, []

    def taken_away(folder):
        honest(folder)
        calls.append(folder)
        if len(calls) == 1:
            folder.rmdir()

    monkeypatch.setattr(files, "make_folder", taken_away)
    run_folder.create_run(out=path, name="").release()
    assert calls == [path, path]
