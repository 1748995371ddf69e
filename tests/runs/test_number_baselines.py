"""A baseline for numbers as a run: its files, its intervals, and what predicts with it."""

import csv

import numpy as np
import pytest

import finewright
from finewright import baselines
from finewright.core.errors import UserError
from finewright.core.events import Notice
from finewright.exporters import merge
from finewright.runs import intervals
from finewright.runs.folder import open_run
from finewright.sklearn import TextRegressor
from support import tiny
from support.amounts import write_rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("numbers")
    tiny.folder(root / "bert", kind="bert")
    write_rows(root / "rows.csv", count=200)
    return root


def go(place, out, *, method="bag-of-words", **extra):
    given = {"model": str(place / "bert"), "data_config": {"label_column": "year"}, **extra}
    return finewright.train(place / "rows.csv", method=method, output_dir=out, **given)


@pytest.fixture(scope="module")
def words(place):
    return go(place, place / "words")


@pytest.mark.parametrize("method", baselines.baseline_names())
def test_it_ends_in_a_complete_and_verified_run(place, tmp_path, method):
    heard = []
    run = go(place, tmp_path / "run", method=method, callbacks=[heard.append])
    result, test = run.result, run.result.metrics.test
    assert {path.name for path in run.path.iterdir()} - {".lock"} == {
        *("config.json", "plan.json", "checks.json", "predictions.jsonl", "result.json", "model")
    }
    model_files = {"README.md", "baseline.json", "baseline.safetensors", "intervals.json"}
    assert {path.name for path in run.folder.model.iterdir()} == model_files
    assert set(result.files) == model_files - {"README.md"}
    assert (result.task, result.method, result.verification_difference, result.steps) == ("regression", method, 0, 0)
    assert (result.baselines, result.baseline_metrics) == ({}, {})
    lines = run.folder.read_lines(run.folder.predictions)
    errors = np.array([line["value"] - float(line["label"]) for line in lines])
    assert test.rmse == pytest.approx(np.sqrt((errors**2).mean()))
    assert test.rmse < test.mean_rmse
    assert test.interval_coverage == pytest.approx(
        np.mean([line["low"] <= float(line["label"]) <= line["high"] for line in lines])
    )
    kept = intervals.read_errors(run.folder.model)
    assert len(kept.errors) == result.num_validation
    said = [event.message for event in heard if isinstance(event, Notice)]
    assert any(line.startswith(f"{method}: ridge regression on ") for line in said)
    assert not any("0 labels" in line for line in said)
    card = (run.folder.model / "README.md").read_text()
    assert "ridge regression" in card
    assert "split conformal prediction" in card
    assert "| labels |" not in card


def test_it_predicts_evaluates_and_loads_like_any_run(place, words, tmp_path):
    lines = words.folder.read_lines(words.folder.predictions)
    texts = [line["text"] for line in lines]
    found = finewright.open_run(words.path).predict(texts)
    assert [one["value"] for one in found] == pytest.approx([line["value"] for line in lines], abs=1e-3)
    assert [one["low"] for one in found] == pytest.approx([line["low"] for line in lines], abs=1e-3)
    assert finewright.load(words.path).predict(texts) == found
    narrow = words.predict(texts, interval=0.5)
    assert narrow[0]["high"] - narrow[0]["low"] < found[0]["high"] - found[0]["low"]
    assert words.predict([" "])[0]["value"] is None
    out = tmp_path / "out.csv"
    words.predict_file(place / "rows.csv", out)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert float(rows[0]["low"]) < float(rows[0]["value"]) < float(rows[0]["high"])
    measured = words.evaluate(place / "rows.csv", options={"label_column": "year"})
    assert measured["num_rows"] == 200
    assert measured["interval_level"] == intervals.LEVEL
    assert words.evaluate()["rmse"] == pytest.approx(words.result.metrics.test.rmse)
    with pytest.raises(UserError, match="nothing to merge"):
        merge.export_merged(open_run(words.path))


def test_few_validation_rows_give_no_interval(place, tmp_path):
    run = go(place, tmp_path / "run", data_config={"label_column": "year", "validation_fraction": 0.0})
    assert "low" not in run.predict(["where is my parcel"])[0]
    with pytest.raises(UserError, match="an interval of 50% needs the errors of"):
        run.predict(["where is my parcel"], interval=0.5)


def test_a_model_whose_numbers_are_not_scikit_learns_is_not_finished(place, tmp_path, monkeypatch):
    honest = baselines.bag_of_words.BagOfWordsModel.score
    monkeypatch.setattr(baselines.bag_of_words.BagOfWordsModel, "score", lambda self, texts: honest(self, texts) + 1)
    with pytest.raises(UserError, match="numbers of the model differ by .* from scikit-learn's"):
        go(place, tmp_path / "run")


def test_the_estimator_of_numbers_takes_it():
    texts = [f"{'good ' * (number % 5)}room {number}" for number in range(90)]
    scores = np.array([number % 5 + 0.25 for number in range(90)])
    regressor = TextRegressor(method="bag-of-words").fit(texts, scores)
    assert regressor.score(texts, scores) > 0.5
    ends = regressor.predict_interval(texts[:3])
    np.testing.assert_allclose(ends.mean(axis=1), regressor.predict(texts[:3]), atol=1e-2)
