"""Comparisons from a file to a page, with everything that can go wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import finewright
from finewright.comparison import compare as comparing
from finewright.comparison import results as comparison_results
from finewright.comparison import runner
from finewright.core.errors import UserError
from finewright.core.events import RunFinished, RunProgress, RunStarted
from finewright.runs.folder import RunFolder
from support import sessions, tiny
from support.comparison_server import comparing_in_forks
from support.comparisons import FAST

BLOCKED, UNFINISHED = "lora-all-seed1", "scratch-8-seed0"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("comparison")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv", count=90)
    return root


def compare(place, out, *, events=None, options=None, source="tickets.csv", **extra):
    extra = {"methods": ["lora"], "jobs": 2, "seeds": 1} | extra
    on_event = (lambda event: None) if events is None else events.append
    options = FAST | (options or {})
    return finewright.compare(
        place / source, model=str(place / "gpt2"), output_dir=out, options=options, callbacks=[on_event], **extra
    )


@pytest.fixture(scope="module")
def whole(place, _quick_proofs):
    """Two methods, two seeds, two sizes. At the first start a foreign file is where one of the runs should go."""
    extra = {"seeds": 2, "train_sizes": ("8", "all")}
    blocked = place / "whole" / "runs" / BLOCKED
    events = []

    def block(event):
        events.append(event)
        if isinstance(event, RunStarted) and not blocked.exists():
            blocked.mkdir(parents=True)
            (blocked / "mine.txt").write_text("keep me")

    on_event = {"methods": ["lora"], "jobs": 2, "options": FAST, "callbacks": [block], **extra}
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    state = torch.get_rng_state()
    try:
        first = finewright.compare(place / "tickets.csv", model=str(place / "gpt2"), output_dir=place / "whole", **on_event)
        left = torch.get_num_threads(), torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)
    foreign = (blocked / "mine.txt").read_text()
    (blocked / "mine.txt").unlink()
    (place / "whole" / "runs" / UNFINISHED / "result.json").unlink()
    again = []
    with comparing_in_forks(_quick_proofs):  # the first one started an interpreter
        second = compare(place, place / "whole", events=again, **extra)
    return first, events, foreign, left, second, again


def ended(events):
    return {event.name: event for event in events if isinstance(event, RunFinished)}


def test_a_failed_run_is_reported_and_the_others_continue(whole):
    first, events, foreign, *_ = whole
    assert foreign == "keep me"
    assert {name for name, event in ended(events).items() if event.failed} == {BLOCKED}
    lines = {line.method: line for line in first.methods}
    assert lines["lora"].status == "partly measured"
    assert "the folder has something else: mine.txt" in lines["lora"].message
    assert lines["lora"].seeds == [0]
    assert lines["scratch"].status == "measured"


def test_the_caller_s_threads_and_random_state_stay(whole):
    assert whole[3] == (3, True)


def test_the_same_command_does_only_what_is_not_finished(whole):
    *_, second, again = whole
    assert set(ended(again)) == {BLOCKED, UNFINISHED}
    assert [event.number for event in ended(again).values()] == [1, 2]
    assert {line.status for line in second.methods} == {"measured"}


def test_numbers_page_and_picture_are_there(whole):
    *_, done, _ = whole
    results = json.loads((done.path / "results.json").read_text())
    assert {line["method"] for line in results["methods"]} == {"lora", "scratch", "majority", "bag-of-words", "frozen-features"}
    for line in results["methods"]:
        low, high = line["accuracy_ci95"]
        assert 0 <= low <= line["accuracy"] <= high <= 1
        assert 0 <= line["macro_f1"] <= 1
    assert results["verdict"] == done.verdict
    assert {(line["method"], line["size"]) for line in results["curve"] if line["method"] == "lora"} == {
        ("lora", "8"),
        ("lora", "all"),
    }
    lora = next(line for line in results["methods"] if line["method"] == "lora")
    wanted = """trainable_fraction train_seconds best_seconds planned_seconds peak_memory_bytes planned_peak_memory_bytes
        predict_texts_per_second artifact_bytes"""
    assert all(lora[key] > 0 for key in wanted.split())
    page = done.page.read_text()
    written = done.page.with_suffix(".md").read_text()
    for text in (page, written):
        head = text[: text.index("Results")]
        assert " training, " in head
        assert str(done.path.parent) not in head, "where the data lay is nobody else's matter"
    assert results["command"].replace("&", "&amp;").split(" --set")[0] in page
    assert (done.path / "report.md").read_text().startswith("# 2 methods on tickets")
    assert (done.path / "accuracy.svg").read_text().startswith("<svg")


def test_runs_are_ordinary_runs(whole):
    *_, done, _ = whole
    run = finewright.open_run(done.path / "runs" / "lora-8-seed1")
    assert (run.result.num_train, run.result.seed, run.result.method, run.result.verification_difference) == (8, 1, "lora", 0)
    assert run.predict(["where is my parcel"])[0]["label"] in ("billing", "shipping")
    small, every = ((done.path / "splits" / size / "train.jsonl").read_text().splitlines() for size in ("8", "all"))
    assert len(small) == 8
    assert set(small) < set(every)


def test_a_finished_comparison_starts_no_process(whole, place, monkeypatch):
    *_, done, _ = whole
    monkeypatch.setattr(runner, "WorkerPool", None)
    before = (done.path / "results.json").read_text()
    again = compare(place, place / "whole", seeds=2, train_sizes=("8", "all"))
    assert json.loads(before) == again.results


def test_the_reported_model_is_the_one_whose_weights_were_fetched(place, tmp_path, monkeypatch):
    """A hub's model may change between its config and its weights."""
    honest, revisions = comparing.hub.resolve_model, []

    def resolve(name, *, weights=True, **extra):
        return replace(honest(name, weights=weights, **extra), revision="second" if weights else "first")

    def build(runner, results, *, model, **extra):
        revisions.append(model["revision"])
        raise UserError("that is enough")

    monkeypatch.setattr(comparing.hub, "resolve_model", resolve)
    monkeypatch.setattr(comparing, "_build_file", build)
    monkeypatch.setattr(comparing, "_run", lambda runner: None)
    monkeypatch.setattr(comparison_results, "read_results", lambda *args, **extra: None)
    for name in ("start", "plan"):
        monkeypatch.setattr(runner.ComparisonRunner, name, lambda self, **extra: None)
    with pytest.raises(UserError, match="that is enough"):
        compare(place, tmp_path / "out")
    assert revisions == ["second"]


@pytest.mark.slow
def test_a_search_uses_the_validation_rows_alone_and_what_it_found(place, tmp_path):
    events = []
    done = compare(place, tmp_path / "c", events=events, search_trials=4, options={"lora.rank": 2})
    assert "search: 4 trials, 2 for each of 2 methods, the first with the defaults" in [str(event) for event in events]
    found = done.results["search"]
    assert {method: len(record["trials"]) for method, record in found.items()} == {"lora": 2, "scratch": 2}
    for trial in (tmp_path / "c" / "search" / "lora").glob("trial*"):
        result = json.loads((trial / "result.json").read_text())
        assert (result["num_test"], result["metrics"].get("test")) == (0, None)
        assert not (trial / "model").exists(), "the weights of trials are not saved"
    config = json.loads((tmp_path / "c" / "runs" / "lora-all-seed0" / "config.json").read_text())
    best = found["lora"]["best"]["params"]
    assert config["method_options"]["rank"] == 2, "what the user fixed is not searched"
    assert "method.rank" not in best
    if "training.learning_rate" in best:
        assert config["settings"]["training"]["learning_rate"] == best["training.learning_rate"]
    assert ">Search<" in done.page.read_text()
    again = []
    assert compare(place, tmp_path / "c", events=again, search_trials=4, options={"lora.rank": 2}).results["search"] == found
    assert not ended(again)


@pytest.mark.slow
def test_after_a_kill_finished_runs_are_kept(place, tmp_path):
    words = ["compare", place / "tickets.csv", "--model", place / "gpt2", "--methods", "lora", "--seeds", "1", "--jobs", "1"]
    words += ["--out", tmp_path / "c", *(word for key, value in FAST.items() for word in ("--set", f"{key}={value}"))]
    command = [sys.executable, "-m", "finewright.cli.main", *map(str, words)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    first = tmp_path / "c" / "runs" / "lora-all-seed0" / "result.json"
    while not first.exists() and child.poll() is None:
        time.sleep(0.05)
    assert child.poll() is None, "it was still at work"
    child.send_signal(signal.SIGKILL)
    child.wait()
    before, events = first.stat().st_mtime_ns, []
    done = compare(place, tmp_path / "c", events=events)
    assert first.stat().st_mtime_ns == before
    assert "lora-all-seed0" not in ended(events)
    assert not any(event.failed for event in ended(events).values())
    assert {line.status for line in done.methods} == {"measured"}


@pytest.mark.slow
def test_a_killed_run_resumes_from_its_checkpoint(place, tmp_path):
    """Bit for bit the same result as without the kill."""
    options = {"training.max_steps": 300, "training.save_steps": 3}
    name, killed = "lora-all-seed0", []
    run, whole = RunFolder(tmp_path / "c" / "runs" / name), RunFolder(tmp_path / "whole" / "runs" / name)

    def kill(event):
        if isinstance(event, RunProgress) and event.name == name and not killed and run.committed_step:
            killed.append(int(re.match(r"pid (\d+)", (run.path / ".lock").read_text())[1]))
            os.kill(killed[0], signal.SIGKILL)
        events.append(event)

    events = []
    extra = {"methods": ["lora"], "jobs": 1, "seeds": 1, "options": FAST | options, "callbacks": [kill]}
    first = finewright.compare(place / "tickets.csv", model=str(place / "gpt2"), output_dir=tmp_path / "c", **extra)
    assert "ended by signal 9" in next(line.message for line in first.methods if line.method == "lora")
    reached = run.committed_step
    assert 0 < reached < 300
    events.clear()
    done = finewright.compare(place / "tickets.csv", model=str(place / "gpt2"), output_dir=tmp_path / "c", **extra)
    assert f"{name}: resumes after step {reached}" in [str(event) for event in events]
    assert set(ended(events)) == {name}
    assert {line.status for line in done.methods} == {"measured"}
    compare(place, tmp_path / "whole", jobs=1, options=options)
    assert sessions.made(run) == sessions.made(whole)


@pytest.mark.parametrize(
    ("extra", "message", "code"),
    [
        ({"train_sizes": ["1"]}, "wanted 1 training row; ", 2),
        ({"seeds": 0}, "wanted at least one seed", 2),
        ({"methods": ["lorra"]}, "did you mean 'lora'", 2),
        ({"memory_budget": "eight"}, "wanted a size above zero with its unit", 2),
        ({"search_trials": 3}, "3 trials are too few for 2 methods", 2),
        ({"options": {"data.test_fraction": 0.0}}, "no test rows", 3),
        ({"options": {"lora.rnak": 4}}, "did you mean 'rank'", 2),
        ({"source": "none.csv"}, "no such file", 3),
    ],
)
def test_mistakes_are_found_before_anything_is_written(place, tmp_path, extra, message, code):
    with pytest.raises(UserError, match=message) as caught:
        compare(place, tmp_path / "c", **extra)
    assert caught.value.code == code
    assert not (tmp_path / "c").exists()


def test_the_same_command_without_a_folder_finds_its_folder_again(place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(comparing, "ComparisonFolder", lambda path: seen.append(path) or (_ for _ in ()).throw(UserError("stop")))
    for _ in range(2):
        with pytest.raises(UserError, match="stop"):
            compare(place, None)
    assert seen == [Path("runs/compare-tickets-gpt2")] * 2
    assert os.listdir(tmp_path) == []
