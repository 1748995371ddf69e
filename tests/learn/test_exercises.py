"""The exercises as a learner runs them: `python learn/NN_name.py`, with the reference solution in and few messages."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub import constants

from finewright.learn.course import Course
from finewright.learn.workspace import Workspace
from support import made_runs

COURSE = Course()
MAIN = 'if __name__ == "__main__":\n'
QUICK = ("02_methods", "07_reading_a_comparison")
"""Scripts of a second or two; the others import transformers and train, which takes up to a minute on a busy machine."""


@pytest.fixture
def workspace(tmp_path):
    return Workspace(work=tmp_path / "learn", runs=tmp_path / "runs")


def solved(workspace, lesson, *, num_rows=32):
    """The exercise with its functions written, and messages enough for a handful of steps; validation knows no other labels."""
    workspace.start(lesson)
    given, main = lesson.exercise.read_text().split(MAIN)
    workspace.file(lesson).write_text(given + lesson.solution.read_text() + MAIN + main)
    with open(workspace.work / "tickets" / "train.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[: num_rows + 1]
    for split in ("train", "validation"):
        with open(workspace.work / "tickets" / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return workspace.file(lesson)


def ran(file, *words, **environ):
    """What it prints. No hub and no cache of it: a fresh machine without a network."""
    place = file.parent.parent
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(place / "nothing"), **environ}
    done = subprocess.run([sys.executable, file, *words], cwd=place, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SCRIPTS = [
    pytest.param(lesson, id=lesson.name, marks=[] if lesson.name in QUICK else [pytest.mark.slow])
    for lesson in COURSE.lessons
    if lesson.has_exercise and MAIN in lesson.exercise.read_text()
]


@pytest.mark.parametrize("lesson", SCRIPTS)
def test_it_runs_as_a_script_and_its_table_is_found(workspace, lesson):
    out = ran(solved(workspace, lesson))
    assert out.strip()
    saved = workspace.own_results(lesson).saved
    assert (saved is not None) == ("practice.save_table(" in lesson.exercise.read_text())
    if saved:
        assert all(cell in out for row in saved.rows for cell in row)
        assert saved.says


def test_the_sum_of_lesson_7_reads_a_comparison(workspace, tmp_path):
    place = tmp_path / "runs" / "compare-x"
    made_runs.write_run(place / "runs", "lora", name="lora-0", accuracy=0.9)
    made_runs.write_run(place / "runs", "scratch", name="scratch-0", accuracy=0.3)
    (place / "results.json").write_text("{}")
    out = ran(solved(workspace, COURSE.lesson(7)))
    assert "2 runs of runs/compare-x" in out
    assert "lora-0 is better than scratch-0" in out
    rows = [json.loads(line) for line in (place / "runs" / "lora-0" / "predictions.jsonl").read_text().splitlines()]
    assert f"lora-0: {sum(row['label'] == row['predicted'] for row in rows)} of 120" in out


@pytest.mark.slow
def test_gpt2_itself_without_hub_and_cache(workspace):
    """Random weights and mini's tokenizer, each said; the count is GPT-2's."""
    out = ran(solved(workspace, COURSE.lesson(4), num_rows=4), "gpt2")
    assert "GPT-2 small: 294,912 of 124,439,808 parameters, 0.237%; by hand (294912, 294912)" in out
    assert "GPT-2 small with random weights" in out
    assert out.count("No tokenizer of openai-community/gpt2 without the hub") == 1
    with open(workspace.work / "tickets" / "train.csv", encoding="utf-8", newline="") as file:
        num_labels = len({row["label"] for row in csv.DictReader(file)})
    assert f"{124_439_808 + 768 * num_labels:,}" in out


@pytest.fixture
def nothing_cached(tmp_path, monkeypatch):
    """A cache of the hub with nothing in it, and what the scripts set in transformers set back."""
    from transformers.utils import logging

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()


def loaded(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_load_gpt2_without_a_hub_has_every_number(nothing_cached, capsys):
    exercise = loaded(COURSE.lesson(4).exercise, "exercise_4")
    model = exercise.load_gpt2(3)
    assert "GPT-2 small with random weights" in capsys.readouterr().out
    assert sum(p.numel() for p in model.parameters()) == 124_439_808 + 768 * 3
    assert model.config.pad_token_id == model.config.eos_token_id == 50_256


@pytest.mark.parametrize(("answer", "reached"), [(ConnectionError("no route"), False), (None, True)])
def test_a_hub_that_does_not_answer_is_asked_once(workspace, nothing_cached, monkeypatch, answer, reached):
    solved(workspace, COURSE.lesson(4))
    practice = loaded(workspace.work / "practice.py", "practice_of_a_learner")
    asked = []

    def model_info(self, name, *, timeout):
        asked.append(timeout)
        if answer:
            raise answer

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(practice.HfApi, "model_info", model_info)
    assert practice.find_hub() == reached
    assert huggingface_hub.is_offline_mode() == (not reached)
    assert practice.find_hub() == reached
    assert len(asked) == (2 if reached else 1)
    assert asked[0] <= 10


def test_every_script_says_what_it_begins():
    for number in (1, 3, 4, 5):
        assert "practice.say(" in COURSE.lesson(number).exercise.read_text()


def test_a_loop_over_batches_tells_how_far_it_is(workspace, monkeypatch, capsys):
    solved(workspace, COURSE.lesson(4))
    practice = loaded(workspace.work / "practice.py", "practice_of_a_learner")
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(practice.time, "monotonic", lambda: float(next(clock)))
    batches = practice.ShownBatches(["a", "b", "c", "d"])
    assert list(batches) == ["a", "b", "c", "d"]
    assert len(batches) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("  step ") and " of 4, about " in line for line in lines)


def test_batches_without_a_tokenizer_take_minis_and_say_so_once(workspace, nothing_cached, capsys):
    solved(workspace, COURSE.lesson(4))
    practice = loaded(workspace.work / "practice.py", "practice_of_a_learner")
    batches = [practice.batches(split, folder="openai-community/gpt2") for split in ("train", "validation")]
    assert capsys.readouterr().out.count("No tokenizer of openai-community/gpt2 without the hub: mini's is used") == 1
    for wanted, found in zip(practice.batches("train"), batches[0], strict=True):
        assert wanted["input_ids"].equal(found["input_ids"])
        padding = found["input_ids"][found["attention_mask"] == 0]
        assert set(padding.tolist()) == {practice.tokenizer("openai-community/gpt2").eos_token_id}
