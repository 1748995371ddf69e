"""A baseline as a run: folder, events, verification, prediction, what is refused."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import finewright
from finewright import api, baselines
from finewright.core import events as run_events
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.interrupts import Interrupted, StopRequest
from finewright.data import dataset
from finewright.exporters import merge
from finewright.learn import run_history
from finewright.runs import baseline_verify, request, schema
from finewright.runs.folder import RunFolder, open_run
from finewright.runs.schema import BaselinePlanFile, RunConfigFile, RunResult
from support import tiny
from support.clean_process import print_from_new_process


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("baselines")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv", count=80)
    return root


@pytest.fixture(scope="module")
def words(place):
    return go(place, place / "words")


def go(place, out, *, method="bag-of-words", **extra):
    return api.train(place / "tickets.csv", model=str(place / "gpt2"), method=method, output_dir=out, **extra)


@pytest.mark.parametrize("method", baselines.baseline_names())
def test_every_baseline_ends_in_a_complete_and_verified_run(place, tmp_path, method, capfd):
    heard = []
    run = go(place, tmp_path / "run", method=method, callbacks=[heard.append])
    assert capfd.readouterr() == ("", ""), "the library is silent"
    files = {path.name for path in run.path.iterdir()} - {".lock"}
    assert files == {"config.json", "plan.json", "checks.json", "predictions.jsonl", "result.json", "model"}
    model_files = {"README.md", "baseline.json", "baseline.safetensors", "calibration.json"}
    assert {path.name for path in run.folder.model.iterdir()} == model_files
    stages = [event.name for event in heard if isinstance(event, run_events.StageStarted)]
    assert stages == ["read", "plan", "load", "train", "save", "evaluate", "verify"]
    result, reads_model = run.result, method == "frozen-features"
    assert (result.method, result.epochs, result.steps, result.verification_difference) == (method, 0, 0, 0)
    assert (result.planned_seconds, result.planned_peak_memory_bytes, result.peak_memory_bytes) == (0, 0, 0)
    assert result.model == (str((place / "gpt2").resolve()) if reads_model else "")
    assert (f"{method} on " in repr(run)) == reads_model
    assert f"{method}," in repr(run) or reads_model
    assert (result.total_parameters > result.trainable_parameters) == reads_model
    assert set(result.files) == model_files - {"README.md"}
    assert result.train_seconds > 0
    plan = schema.read(BaselinePlanFile, run.folder.plan)
    assert (plan.num_labels, plan.num_test, plan.seconds, plan.peak_memory_bytes) == (2, result.num_test, None, None)
    chosen = {choice.option: choice.value for choice in schema.read(RunConfigFile, run.folder.config).choices}
    assert set(chosen) == {"method.C"} | ({"method.state"} if reads_model else set())
    reasons = {choice.reason for choice in schema.read(RunConfigFile, run.folder.config).choices}
    assert reasons == {f"the best on {result.num_validation} validation rows and on training rows that are left out in turn"}
    lines = run.folder.read_lines(run.folder.predictions)
    assert len(lines) == result.num_test
    right = np.mean([line["label"] == line["predicted"] for line in lines])
    assert right == pytest.approx(result.metrics.test.accuracy)
    assert result.metrics.validation.num_rows == result.num_validation
    again = finewright.open_run(run.path).predict([line["text"] for line in lines])
    assert [line["label"] for line in again] == [line["predicted"] for line in lines]
    assert [line["probability"] for line in again] == pytest.approx([line["probability"] for line in lines], abs=1e-6)
    card = (run.folder.model / "README.md").read_text()
    assert f"{result.metrics.test.accuracy:.1%}" in card
    assert str(place) not in card
    assert run_history.find_runs(tmp_path) == [], "lessons are about networks"


def test_it_predicts_evaluates_and_loads_like_any_run(place, words):
    model = finewright.load(words.path)
    texts = ["refund my card", "where is it"]
    assert (model.labels, model.device) == (words.predictor.labels, "cpu")
    shares = model.predict_proba(texts)
    assert shares.shape == (2, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert [line["probabilities"] for line in model.predict(texts)] == [line["probabilities"] for line in words.predict(texts)]
    assert words.evaluate(place / "tickets.csv")["num_rows"] == 80
    with pytest.raises(UserError, match="no network"):
        model.to_transformers()
    assert model.predict([" "])[0]["label"] is None
    with pytest.raises(UserError, match="nothing to merge: a baseline's model folder is complete"):
        merge.export_merged(open_run(words.path))


def test_the_same_command_returns_the_finished_run_and_other_options_are_refused(place, words):
    before, heard = words.folder.result.read_bytes(), []
    again = go(place, words.path, callbacks=[heard.append])
    assert again.path == words.path
    assert [event.code for event in heard] == ["finished"]
    assert words.folder.result.read_bytes() == before
    with pytest.raises(UserError, match="asked for something else") as raised:
        go(place, words.path, method_options={"max_ngram": 1})
    assert "method.max_ngram: 2 → 1" in str(raised.value)
    for method in ("frozen-features", "full"):
        with pytest.raises(UserError, match="asked for something else"):
            go(place, words.path, method=method)
    assert words.folder.result.read_bytes() == before


def test_a_method_is_not_continued_by_a_baseline(place, tmp_path):
    go(place, tmp_path / "run", method="full", training={"max_steps": 1, "precision": "float32", "num_threads": 1})
    with pytest.raises(UserError, match="asked for something else"):
        go(place, tmp_path / "run")


def test_an_interrupted_run_starts_again(place, tmp_path, monkeypatch):
    stop, out = StopRequest(), tmp_path / "run"

    def interrupt(event):
        if isinstance(event, run_events.StageStarted) and event.name == "evaluate":
            stop.request(15)

    with pytest.raises(Interrupted) as raised:
        go(place, out, callbacks=[interrupt], stop=stop)
    assert raised.value.run == out
    assert not RunFolder(out).complete
    with pytest.raises(UserError, match="no option that may change"):
        finewright.resume(out, changes=["learning_rate=1"])
    run = finewright.resume(out)
    assert run.result.method == "bag-of-words"
    assert finewright.resume(out).path == out


def test_a_resumed_run_has_the_data_it_was_started_with(place, tmp_path):
    data, out, stop = tmp_path / "t.csv", tmp_path / "run", StopRequest()
    data.write_text((place / "tickets.csv").read_text())

    def interrupt(event):
        if isinstance(event, run_events.StageStarted) and event.name == "save":
            stop.request(15)

    with pytest.raises(Interrupted):
        api.train(data, method="bag-of-words", output_dir=out, callbacks=[interrupt], stop=stop)
    data.write_text(data.read_text().replace("billing", "payments"))
    with pytest.raises(UserError, match="started with something else"):
        finewright.resume(out)


@pytest.mark.parametrize(
    ("method", "extra", "named"),
    [
        ("bag-of-words", {"training": {"epochs": 3}}, "training.epochs"),
        ("bag-of-words", {"training": {"learning_rate": 1e-3, "precision": "float32"}}, "training.learning_rate"),
        ("bag-of-words", {"data_config": {"max_length": 20}}, "data.max_length"),
        ("bag-of-words", {"memory_budget": "1GB"}, "memory_budget"),
        ("frozen-features", {"training": {"class_weights": "balanced"}}, "training.class_weights"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(place, tmp_path, method, extra, named):
    with pytest.raises(UserError, match=f"{method} does not use {named}"):
        go(place, tmp_path / "run", method=method, **extra)
    assert not (tmp_path / "run").exists()


def test_its_own_options_are_checked_and_used(place, tmp_path):
    with pytest.raises(UserError, match=r"method\.rank: unknown option"):
        go(place, tmp_path / "run", method_options={"rank": 8})
    with pytest.raises(UserError, match="given twice"):
        go(place, tmp_path / "run", method=finewright.BagOfWords(), method_options={"max_ngram": 1})
    run = go(place, tmp_path / "run", method=finewright.BagOfWords(max_ngram=1, C=3))
    assert schema.read(RunConfigFile, run.folder.config).choices == []
    assert json.loads((run.folder.model / "baseline.json").read_text())["max_ngram"] == 1


@pytest.mark.slow
def test_features_read_as_much_of_a_text_as_was_asked(place, tmp_path):
    run = go(place, tmp_path / "run", method=finewright.FrozenFeatures(state="mean", C=1.0), data_config={"max_length": 6})
    assert schema.read(RunConfigFile, run.folder.config).max_length == 6
    assert run.predictor.model.settings.max_length == 6


def test_names_are_suggested_and_plans_are_refused(place):
    with pytest.raises(UserError, match="bag-of-words") as raised:
        api.train(place / "tickets.csv", method="bag-of-word")
    assert "did you mean 'bag-of-words'" in str(raised.value)
    with pytest.raises(UserError, match="its cost is not planned"):
        api.plan(place / "tickets.csv", method="bag-of-words")
    with pytest.raises(UserError, match="always compared"):
        finewright.compare(place / "tickets.csv", methods=["bag-of-words"])


@pytest.mark.parametrize("file", ["baseline.json", "baseline.safetensors"])
def test_a_model_that_changed_since_it_was_verified_is_refused(place, tmp_path, file):
    run = go(place, tmp_path / "run")
    path = run.folder.model / file
    path.write_bytes(path.read_bytes().replace(b"billing", b"bilking") if file.endswith("json") else path.read_bytes() + b"x")
    with pytest.raises(UserError, match="not what was saved and verified"):
        finewright.open_run(run.path).predict(["card"])


def test_a_saved_model_that_scores_otherwise_is_not_finished(place, tmp_path, monkeypatch):
    honest = baselines.bag_of_words.BagOfWordsModel.save

    def save(self, folder):
        honest(self, folder)
        tensors = load_file(folder / "baseline.safetensors")
        save_file({**tensors, "intercept": tensors["intercept"] + 1e-3}, folder / "baseline.safetensors")

    monkeypatch.setattr(baselines.bag_of_words.BagOfWordsModel, "save", save)
    with pytest.raises(UserError, match="differ by") as raised:
        go(place, tmp_path / "run")
    assert raised.value.code == ExitCode.MISMATCH
    assert not RunFolder(tmp_path / "run").complete


def test_a_model_that_is_not_scikit_learns_is_not_finished(place, tmp_path, monkeypatch):
    honest = baselines.bag_of_words.BagOfWordsModel.score
    monkeypatch.setattr(baselines.bag_of_words.BagOfWordsModel, "score", lambda self, texts: honest(self, texts) * 0.5)
    with pytest.raises(UserError, match="from scikit-learn's"):
        go(place, tmp_path / "run")


def test_a_reloading_process_that_fails_is_named(place, words, tmp_path):
    with pytest.raises(UserError, match="cannot be loaded again: no saved baseline here"):
        baseline_verify.new_interpreter.ask(
            "finewright.runs.baseline_verify", {"folder": str(tmp_path), "texts": [], "threads": 0, "out": str(tmp_path / "o")}
        )


def test_rows_in_memory_and_no_test_rows(tmp_path):
    texts = [f"{'refund card' if row % 2 else 'lost parcel'} {row}" for row in range(40)]
    labels = ["fees" if row % 2 else "post" for row in range(40)]
    run = api.train(texts, labels, method="bag-of-words", data_config={"test_fraction": 0.0}, output_dir=tmp_path / "run")
    assert run.result.metrics.test is None
    assert run.result.baselines == {}
    assert run.predict(["refund"])[0]["label"] == "fees"


def test_reading_is_counted_once_also_before_the_run_begins(place, tmp_path, monkeypatch):
    """`train` reads the data before it loads the libraries. Every reading takes a million seconds here, as does looking at the
    columns."""
    clock = itertools.count(0, 10**6)
    monkeypatch.setattr(dataset, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert 2 * 10**6 <= go(place, tmp_path / "first").result.stage_seconds["read"] < 3 * 10**6
    cache = dataset.DatasetCache()
    cache.read(place / "tickets.csv", options=DataConfig())
    assert go(place, tmp_path / "second", cache=cache).result.stage_seconds["read"] < 10**6, "the rows were in the cache"


def test_training_and_predicting_with_words_load_no_pytorch(place, tmp_path):
    code = (
        "import sys, finewright; "
        f"run = finewright.train({str(place / 'tickets.csv')!r}, method='bag-of-words', output_dir={str(tmp_path / 'run')!r}); "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert print_from_new_process(code) == "False False"
    code = (
        "import sys, finewright; "
        f"finewright.load({str(tmp_path / 'run')!r}).predict(['a card']); "
        "print(sorted({'torch', 'transformers', 'sklearn', 'scipy', 'pyarrow'} & set(sys.modules)))"
    )
    assert print_from_new_process(code) == "[]"


def test_a_task_without_labels_is_refused(place, tmp_path, monkeypatch):
    from finewright.tasks.text_classification import TextClassification

    monkeypatch.setattr(TextClassification, "for_dataset", classmethod(lambda cls, dataset, config: cls(())))
    with pytest.raises(UserError, match="predicts labels, numbers or tags, and text-classification has none"):
        go(place, tmp_path / "run")


def test_features_of_whole_texts_do_not_tag_words(tmp_path):
    with pytest.raises(UserError, match="frozen-features reads whole texts, and token-classification wants a tag for each word"):
        api.train("entities", method="frozen-features", output_dir=tmp_path / "run")


@pytest.mark.parametrize("method", baselines.baseline_names())
@pytest.mark.parametrize("task", ["text-generation", "preference"])
def test_tasks_of_answers_are_refused(task, method, tmp_path):
    answers = {"completion": "hello"} if task == "text-generation" else {"chosen": "hello", "rejected": "no"}
    rows = [{"prompt": f"hi {number}", **answers} for number in range(30)]
    with pytest.raises(UserError, match=f"{method} predicts labels, numbers or tags, and {task} has none"):
        api.train(rows, method=method, output_dir=tmp_path / "run")


def test_requests_are_told_apart_by_their_method(words):
    assert request.is_baseline_run(words.path)
    assert not request.is_baseline_run(words.path / "model")
    saved = schema.read(RunConfigFile, words.folder.config).request
    assert request.read_baseline_request(saved).record() == saved
    assert schema.read(RunResult, words.folder.result).method == saved.method
