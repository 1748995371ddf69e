"""Runs that a SIGKILL ends at random instants finish in later sessions, bit for bit like uninterrupted ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def killed(kills, *, seed, kind="labels"):
    command = [sys.executable, str(TESTS / "support" / "killer.py"), str(kills), str(seed), kind]
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["kills"] >= kills
    assert (told["lost"], told["different"], told["stepped_back"]) == (0, 0, 0), (told, done.stderr[-3000:])


def test_killed_a_few_times():
    killed(4, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_sixty_times():
    killed(60, seed=2)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["language", "preference"])
def test_runs_of_language_models_killed_twenty_times(kind):
    killed(20, seed=2, kind=kind)


@pytest.mark.nightly
@pytest.mark.timeout(36_000)
def test_killed_a_thousand_times():
    killed(1000, seed=3)
