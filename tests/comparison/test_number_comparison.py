"""A comparison of numbers: its baselines, its ranking by R2, and its charts."""

import json

import numpy as np
import pytest
from sklearn.metrics import r2_score

import finewright
from finewright.comparison.report import numbers
from finewright.core.errors import UserError
from support import tiny
from support.amounts import write_rows
from support.comparisons import FAST


@pytest.fixture(scope="module")
def out(tmp_path_factory, quick_comparisons):
    root = tmp_path_factory.mktemp("numbers")
    tiny.folder(root / "bert", kind="bert")
    write_rows(root / "rows.csv", count=90)
    options = FAST | {"data.label_column": "year"}
    finewright.compare(
        root / "rows.csv", model=root / "bert", methods=["lora"], seeds=1, jobs=1, output_dir=root / "out", options=options
    )
    return root / "out"


def test_all_are_ranked_by_r2_and_the_baselines_are_those_of_numbers(out):
    results = json.loads((out / "results.json").read_text())
    assert (results["task"], results["metric"]) == ("regression", "r2")
    rows = {row["method"]: row for row in results["methods"]}
    assert set(rows) == {"lora", "scratch", "mean", "bag-of-words", "frozen-features"}
    scores = [row["score"] for row in results["methods"]]
    assert scores == sorted(scores, reverse=True)
    assert rows["mean"]["score"] == pytest.approx(0, abs=0.2)
    lines = [json.loads(line) for line in (out / "runs" / "lora-all-seed0" / "predictions.jsonl").read_text().splitlines()]
    true, predicted = ([float(line[key]) for line in lines] for key in ("label", "value"))
    assert rows["lora"]["score"] == pytest.approx(r2_score(true, predicted))
    assert set(rows["lora"]["test_metrics"]) == {"rmse", "mae", "spearman", "loss"}
    assert rows["lora"]["test_metrics"]["rmse"] == pytest.approx(np.sqrt(np.mean((np.array(true) - predicted) ** 2)))
    assert rows["bag-of-words"]["chosen"].startswith("penalty ")


def test_the_report_draws_predicted_and_true_numbers(out):
    page = (out / "report.html").read_text()
    for name in ("lora", "scratch", "bag-of-words", "frozen-features"):
        assert f"{name}: predicted against true; the line is without error." in page
        assert f"{name}: predicted less true." in page
    assert "mean: predicted against true" not in page
    assert "penalties of the baselines by cross-validation on the training rows" in page


def test_a_chart_has_a_dot_for_each_row_and_a_bar_for_each_error():
    true = np.arange(40.0)
    assert numbers.draw_scatter(true, true + 1, "lora").count("<circle") == 40
    drawn = numbers.draw_errors(np.array([0.0] * 30 + [1.0] * 10), "lora")
    assert "Errors of 40 test rows, lora: mean 0.25" in drawn
    assert drawn.count("<rect") >= 5


def test_a_baseline_is_no_method(tmp_path):
    with pytest.raises(UserError, match="mean is a baseline, and all baselines are always compared"):
        finewright.compare("reviews", methods=["mean"], output_dir=tmp_path / "out")
