"""The run folder."""

import json
import subprocess
import sys

import pytest

from finewright import run
from finewright.errors import ExitCode, UserError


def test_names_are_numbered_when_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RUNS", tmp_path / "runs")
    names = []
    for _ in range(3):
        folder = run.create(out=None, name="my data! (v2)/lora")
        folder.write_json(folder.result, {})
        names.append(folder.path.name)
        folder.release()
    assert names == ["my-data-v2-lora", "my-data-v2-lora-2", "my-data-v2-lora-3"]


def test_two_processes_cannot_have_one_run(tmp_path):
    folder = run.create(out=tmp_path / "a", name="")
    folder.write_json(folder.checks, {})
    code = f"from finewright import run; from pathlib import Path; run.RunFolder(Path({str(folder.path)!r})).lock()"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "locked by pid" in outcome.stderr
    folder.release()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_json_is_written_whole_or_not_at_all(tmp_path):
    folder = run.create(out=tmp_path / "a", name="")
    folder.write_json(folder.result, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        folder.write_json(folder.result, {"a": float("nan")})
    assert json.loads(folder.result.read_text()) == {"a": 1}
    folder.release()


def test_an_unfinished_run_is_not_opened(tmp_path):
    folder = run.create(out=tmp_path / "a", name="")
    folder.write_json(folder.config, {})
    folder.write_json(folder.checks, {})
    folder.release()
    with pytest.raises(UserError, match=r"the run did not finish: it has no result\.json") as caught:
        run.open_run(folder.path)
    assert caught.value.code == ExitCode.MISMATCH
    folder.write_json(folder.result, {"x": 1})
    assert run.open_run(folder.path).complete
    assert [found.path for found in run.list_runs(tmp_path)] == [folder.path]


def test_a_folder_that_is_no_run_names_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RUNS", tmp_path)
    folder = run.create(out=tmp_path / "good", name="")
    folder.write_json(folder.config, {})
    folder.write_json(folder.checks, {})
    folder.release()
    with pytest.raises(UserError, match=r"nothing: no run here\n.*good"):
        run.open_run(tmp_path / "nothing")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write here|the folder is not empty"):
        run.create(out=tmp_path / "file" / "below", name="")
    with pytest.raises(UserError, match="the folder is not empty"):
        run.create(out=tmp_path / "file", name="")


def test_a_folder_in_which_nothing_was_begun_goes_away_and_leftovers_do_not_block(tmp_path):
    folder = run.create(out=tmp_path / "a", name="")
    folder.release()
    assert not folder.path.exists()
    folder = run.create(out=tmp_path / "a", name="")
    folder.write_json(folder.checks, {"findings": ["old"]})
    folder.release()
    again = run.create(out=tmp_path / "a", name="")
    assert not again.checks.exists()
    again.release()
