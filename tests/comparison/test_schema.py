"""The files of a comparison: read as they were written, and refused where they cannot be understood."""

import json

import pytest

from finewright.comparison.schema import SCHEMA_VERSION, ComparisonResultsFile, ComparisonSpecFile
from finewright.core.errors import ExitCode, UserError
from finewright.runs import schema
from support import made

KEYS = """task metric metric_words num_scored
    verdict verdict_sentences methods pairs curve ways seeds train_sizes search data model budget_bytes jobs threads notes
    findings disagreements num_disagreements command versions hardware"""
METHOD_KEYS = """method kind summary status message score score_ci95 scores test_metrics
    accuracy accuracy_ci95 macro_f1 macro_f1_ci95 accuracies seeds
    difference_to_best p_value told_apart_from_best num_train trainable_parameters total_parameters trainable_fraction
    predict_texts_per_second chosen confusion calibration calibration_error uncalibrated_error training runs train_seconds
    best_seconds planned_seconds peak_memory_bytes planned_peak_memory_bytes artifact_bytes"""
CURVE_KEYS = "method size num_train score score_ci95 accuracy accuracy_ci95 macro_f1 macro_f1_ci95"


@pytest.fixture
def path(tmp_path):
    search = {"lora": {"trials": [{"params": {"method.rank": 4}, "accuracy": 0.8, "loss": 1.0}]}}
    findings = [{"code": "cut", "severity": "warning", "message": "cut", "rows": ["t.csv:3"], "fix": "shorten"}]
    results = made.results(made.standing(made.usual(tmp_path)), tmp_path, search=search, findings=findings)
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path / "results.json"


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_results_are_read_as_they_were_written(path):
    written = json.loads(path.read_text())
    assert schema.dump(schema.read(ComparisonResultsFile, path)) == written
    assert written["findings"][0]["rows"] == ["t.csv:3"]
    assert written["search"]["lora"]["trials"][0]["params"] == {"method.rank": 4}
    assert written["disagreements"][0]["from"].startswith("t.csv:")


def test_every_key_that_readers_know_is_there(path):
    """The names are a contract: whoever reads results.json knows them. `schema_version` is what `format` was."""
    written = json.loads(path.read_text())
    assert set(written) == {"schema_version", *KEYS.split()}
    assert set(written["methods"][0]) == set(METHOD_KEYS.split())
    assert set(written["curve"][0]) == set(CURVE_KEYS.split())
    assert set(written["pairs"][0]) == {"first", "second", "difference", "p_value", "told_apart"}
    assert set(written["disagreements"][0]) == {"text", "label", "from", "predicted", "scores"}
    assert set(written["data"]) == {"source", "name", "rows", "labels"}


def test_keys_of_a_later_version_are_ignored(path):
    before = schema.read(ComparisonResultsFile, path)
    change(path, mood="good")
    assert schema.read(ComparisonResultsFile, path) == before


@pytest.mark.parametrize("kind", [ComparisonResultsFile, ComparisonSpecFile])
def test_a_newer_version_is_refused(path, kind):
    change(path, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(UserError, match=r"newer version of finewright \(schema 2, known here: 1\)") as caught:
        schema.read(kind, path)
    assert (caught.value.code, caught.value.where) == (ExitCode.MISMATCH, str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable: "),
        ("[]", "not readable: the file: "),
        ('{"format": 1}', "not readable: verdict: Field required; it was written by an older version"),
        ('{"schema_version": "one"}', "not readable: schema_version: "),
    ],
)
def test_a_broken_file_is_refused(path, content, message):
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        schema.read(ComparisonResultsFile, path)
    assert (caught.value.code, caught.value.fix) == (ExitCode.MISMATCH, "choose another --out and compare again")
    path.unlink()
    with pytest.raises(UserError, match=r"the comparison has no results\.json"):
        schema.read(ComparisonResultsFile, path)
