"""Finished runs → numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from finewright.comparison import results
from finewright.comparison.folder import ComparisonFolder
from finewright.comparison.report import figures, page, tables
from finewright.comparison.report.document import Table
from finewright.comparison.schema import BaselineFile, SpeedFile
from finewright.comparison.spec import ComparisonSpec
from finewright.core.errors import ExitCode, UserError
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from support import made
from support.comparisons import baseline_result, run_result

SPEC = ComparisonSpec("t.csv", None, "mini", ("lora", "scratch"), (0, 1), ("all",), 0, {}, {})
TRUTH = ["billing", "shipping", "billing", "shipping"]


@pytest.fixture
def folder(tmp_path):
    place = ComparisonFolder(tmp_path)
    write(place.data("all") / "test.jsonl", [{"text": f"t{i}", "label": label, "from": ""} for i, label in enumerate(TRUTH)])
    for method in SPEC.candidates:
        for seed in SPEC.seeds:
            finish(place, f"{method}-all-seed{seed}", wrong=[seed] if method == "lora" else [0, 1, 2])
    store(place.baseline("majority"), BaselineFile(sizes={"all": baseline_result(["billing"] * 4)}))
    store(place.speed("lora"), SpeedFile(texts_per_second=50.0, num_texts=4))
    return place


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def store(path, artifact):
    path.parent.mkdir(parents=True, exist_ok=True)
    schema.write(path, artifact)


def other(label):
    return "shipping" if label == "billing" else "billing"


def finish(place, name, *, wrong):
    run = RunFolder(place.run(name))
    predicted = [other(label) if index in wrong else label for index, label in enumerate(TRUTH)]
    lines = [{"text": "t", "label": a, "predicted": b, "probability": 0.9} for a, b in zip(TRUTH, predicted, strict=True)]
    write(run.predictions, lines)
    write(run.timings, [{"step": 10, "seconds": 1.0}, {"step": 20, "seconds": 3.0}])
    store(run.result, run_result(best_step=15, num_train=8, train_seconds=3.0, seed=int(name[-1])))


def read(folder, **options):
    return results.read_results(SPEC, folder, labels=made.LABELS, reasons={}, failures={}, **options)


def test_runs_become_entries_the_most_accurate_first(folder):
    table = read(folder)
    assert [entry.name for entry in table.measured] == ["lora", "majority", "scratch"]
    lora = table.measured[0]
    assert lora.predictions.right.tolist() == [[False, True, True, True], [True, False, True, True]]
    assert table.summaries["lora"].score == 0.75
    assert lora.best_seconds == [2.0, 2.0], "step 15 lies between 1 s and 3 s"
    assert (lora.speed, lora.num_train, lora.kind) == (50.0, 8, "pretrained")
    assert [entry.kind for entry in table.measured] == ["pretrained", "baseline", "random"]
    assert table.pair("scratch", "lora").difference == -table.pair("lora", "scratch").difference == -0.5
    assert table.one_class is None


def test_what_is_missing_is_listed_with_its_reason(folder):
    table = results.read_results(
        SPEC,
        folder,
        labels=made.LABELS,
        reasons={"scratch": "does not fit: planned peak 9 GB"},
        failures={"bag-of-words": "no words"},
    )
    reasons = {entry.name: entry.reasons for entry in table.entries}
    assert reasons["scratch"] == ["does not fit: planned peak 9 GB"]
    assert reasons["bag-of-words"] == ["no words"]
    assert reasons["frozen-features"] == ["was not finished"]
    assert reasons["lora"] == []


def test_a_failed_run_leaves_the_other_seeds(folder):
    (folder.run("lora-all-seed1") / "result.json").unlink()
    table = results.read_results(SPEC, folder, labels=made.LABELS, reasons={}, failures={"lora-all-seed1": "step 1: loss nan"})
    (lora,) = [entry for entry in table.entries if entry.name == "lora"]
    assert (len(lora.results), lora.reasons) == (1, ["step 1: loss nan"])
    lines = {line.method: line for line in results.build_method_rows(table, folder)}
    assert (lines["lora"].status, lines["lora"].seeds) == ("partly measured", [0])
    assert "With fewer seeds than the others: lora." in results.build_notes(table, SPEC, jobs=1, threads=2)


def test_a_run_on_other_rows_is_refused(folder):
    lines = RunFolder(folder.run("lora-all-seed0")).read_lines(folder.run("lora-all-seed0") / "predictions.jsonl")
    write(folder.run("lora-all-seed0") / "predictions.jsonl", lines[::-1])
    with pytest.raises(UserError, match="measured on other test rows") as caught:
        read(folder)
    assert caught.value.code == ExitCode.MISMATCH


def test_rows_of_results_json(folder):
    lines = results.build_method_rows(read(folder), folder)
    json.dumps([schema.dump(line) for line in lines], allow_nan=False)
    first, *_, last = lines
    assert (first.method, first.p_value, first.runs[0]) == ("lora", None, "runs/lora-all-seed0")
    assert first.accuracies == [0.75, 0.75]
    assert first.accuracy_ci95[0] <= first.accuracy <= first.accuracy_ci95[1]
    assert lines[2].difference_to_best == -0.5
    assert (last.accuracy, last.status) == (None, "not measured")


def test_logs_are_read_once(tmp_path, monkeypatch):
    table, read = made.standing(made.usual(tmp_path)), []
    honest = schema.read_lines
    monkeypatch.setattr(schema, "read_lines", lambda kind, path: read.append(path) or honest(kind, path))
    results.build_method_rows(table, ComparisonFolder(tmp_path))
    figures.training_curves(table)
    tables.training(table)
    assert read
    assert len(read) == len(set(read))


def test_rows_of_results_json_have_what_the_charts_show(tmp_path):
    table = made.standing(made.usual(tmp_path))
    lines = {line.method: line for line in results.build_method_rows(table, ComparisonFolder(tmp_path))}
    json.dumps([schema.dump(line) for line in lines.values()], allow_nan=False)
    lora, words = lines["lora"], lines["bag-of-words"]
    assert np.array(lora.confusion).sum() == 200
    assert np.trace(lora.confusion) / 200 == pytest.approx(lora.accuracy)
    assert lora.calibration == [(pytest.approx(0.8), pytest.approx(lora.accuracy))]
    assert (lora.calibration_error, words.calibration_error) == (pytest.approx(0.1), pytest.approx(0.05))
    assert len(lora.training) == 2
    assert lora.training[0].loss == [(1.0, 0.1), (2.0, 0.05), (3.0, 1 / 30)]
    assert lora.training[0].validation_accuracy == [(1.0, 0.6), (2.0, 0.7), (3.0, 0.8)]
    assert words.training == []
    for line in results.build_curve_rows(table):
        low, high = line.macro_f1_ci95
        assert low <= line.macro_f1 <= high


def test_rows_on_which_the_methods_disagree(folder):
    table = read(folder)
    found = results.build_disagreement_rows(table, folder, SPEC)
    assert [line.text for line in found] == ["t0", "t2"]
    assert found[1].predicted == {"lora": "billing", "scratch": "shipping"}
    assert found[0].label == "billing"


def test_the_majority_of_seeds_decides(folder):
    entry = made.entry("lora", 0.5, seeds=3, rows=2)
    entry.predictions.chosen[:] = np.array([[0, 1], [0, 1], [1, 0]])
    assert results._majority_of_seeds(entry.predictions, num_labels=2).tolist() == [0, 1]


def test_a_test_split_of_one_class_is_noticed(folder):
    write(folder.data("all") / "test.jsonl", [{"text": "t", "label": "billing", "from": ""}] * 4)
    for path in folder.path.glob("runs/*/predictions.jsonl"):
        write(path, [{"text": "t", "label": "billing", "predicted": "billing", "probability": 0.9}] * 4)
    table = read(folder)
    assert table.one_class == "billing"
    assert "Every test row has the label 'billing'." in results.build_notes(table, SPEC, jobs=1, threads=1)


def test_one_seed_is_noted():
    spec = ComparisonSpec("t.csv", None, "mini", ("lora",), (0,), ("all",), 0, {}, {})
    (note,) = results.build_notes(made.standing([made.entry("lora", 0.9)]), spec, jobs=1, threads=2)
    assert note.startswith("One seed: intervals and tests are over the test rows alone.")


def test_the_calibration_error_before_scaling_is_a_mean_over_the_seeds_that_were_scaled():
    calibration = {"temperature": 1.5, "rows": 50, "ece_before": 0.3, "ece_after": 0.1, "on": "test"}
    entry = made.entry("lora", 0.8, seeds=2)
    assert entry.uncalibrated_error() is None
    scaled = [run_result("lora", calibration=calibration), run_result("lora", calibration=calibration | {"ece_before": 0.2})]
    assert replace(entry, results=scaled).uncalibrated_error() == pytest.approx(0.25)
    assert replace(entry, results=[*scaled, run_result("lora")]).uncalibrated_error() == pytest.approx(0.25)


def test_the_report_shows_both_calibration_errors(tmp_path):
    table = made.standing(made.usual(tmp_path))
    calibration = {"temperature": 1.5, "rows": 50, "ece_before": 0.317, "ece_after": 0.1, "on": "test"}
    first = next(entry for entry in table.entries if entry.kind != "baseline" and entry.results)
    first.results[:] = [run_result(first.name, calibration=calibration) for _ in first.results]
    (block,) = [block for block in page._calibration(table) if isinstance(block, Table)]
    assert block.headings == ["method", "without", "with"]
    assert any(row[1:] == ["0.317", "0.100"] for row in block.rows)
    assert any(row[1:] == ["", "0.050"] for row in block.rows), "a baseline is not scaled"
