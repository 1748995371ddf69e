"""Model folders that mean harm: a plain refusal, or the harmless part loaded; no code run, nothing unpickled, no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def test_some_hostile_folders_get_nothing_done(tmp_path):
    jail(tmp_path, every=3)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_no_hostile_folder_gets_anything_done(tmp_path):
    assert jail(tmp_path, every=1) >= 150


def jail(tmp_path, *, every):
    """Number of the folders tried: one of `every` so many."""
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, str(TESTS / "support" / "jail.py"), str(tmp_path), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    found = told["cases"]
    assert len(found) >= 150 / every
    assert told["peak_bytes"] < 500e6, "a folder of a few kilobytes takes no memory to speak of"
    broken = [case for case in found if case["events"] or not case["outcome"].startswith(("refused: ", "loaded"))]
    assert not broken, broken
    refused = [case for case in found if case["outcome"].startswith("refused: ")]
    assert all("\n" not in case["outcome"][:-1] for case in refused)
    assert len(refused) > len(found) / 2
    return len(found)
