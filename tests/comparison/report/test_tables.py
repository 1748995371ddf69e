"""The tables of the page, by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from finewright.comparison import confusions
from finewright.comparison.report import tables
from finewright.comparison.schema import DisagreementRow
from finewright.runs.split_metrics import SplitMetrics
from support import made
from support.comparisons import run_result


def test_many_labels_show_what_is_confused_most():
    entry = made.entry("lora", 0.5, rows=400)
    labels = [f"label{index}" for index in range(20)]
    entry.predictions.targets[:] = np.arange(400) % 20
    entry.predictions.chosen[:] = np.where(np.arange(400) % 20 == 3, 7, entry.predictions.targets)
    table = tables.most_confused(entry, labels)
    assert table.rows[0] == ["label3", "label7", "20"]


def test_the_confusion_matrix_counts_rows_and_averages_seeds():
    entry = made.entry("lora", 0.5, seeds=2, rows=4)
    entry.predictions.targets[:] = [0, 0, 1, 1]
    entry.predictions.chosen[:] = [[0, 1, 1, 1], [0, 0, 1, 0]]
    assert confusions.list_matrix(entry, num_labels=2) == [[1.5, 0.5], [0.5, 1.5]]


def test_confused_types_are_shaded_by_row_and_invented_ones_by_column():
    counts = {"X": {"X": 3.0, "Y": 1.0}, "Y": {"Y": 2.0, "none": 2.0}, "none": {"Y": 1.0}}
    table = tables.type_matrix(made.entry("lora", 0.5, seeds=2), counts)
    assert table.headings == ["type", "X", "Y", "none: missed"]
    assert [[one if isinstance(one, str) else one.text for one in row] for row in table.rows] == [
        ["X", "3", "1", "0"],
        ["Y", "0", "2", "2"],
        ["none: invented", "0", "1", "–"],
    ]
    assert [one.shade for one in table.rows[0][1:]] == [0.75, 0.25, 0.0]
    assert table.rows[2][2].shade == 0.25, "one of four that were predicted as Y"
    assert "mean over seeds" in table.caption
    assert "mean over seeds" not in tables.type_matrix(made.entry("lora", 0.5), counts).caption


def test_each_method_has_its_confused_types_the_best_ones_unfolded():
    measured = {"per_type": {"X": {"f1": 0.5}}, "type_confusion": {"X": {"X": 3, "none": 1}}}
    metrics = SplitMetrics(num_rows=4, loss=0.0, **measured)
    entries = [replace(made.entry(name, 0.5), results=[SimpleNamespace(metrics=metrics)]) for name in ("lora", "word-tags")]
    table, *folds = tables.by_type(SimpleNamespace(measured=entries))
    assert [cell.text for row in table.rows for cell in row[1:]] == ["50.0%", "50.0%"]
    assert [(fold.title, fold.open) for fold in folds] == [("lora", True), ("word-tags", False)]
    assert tables.by_type(SimpleNamespace(measured=[made.entry("lora", 0.5)])) == []


def test_signs():
    assert [tables.signed(value) for value in (1.24, -3.0, 0.0, -0.04)] == ["+1.2", "−3.0", "0.0", "0.0"]


def test_predictions_are_grouped_by_label_the_correct_one_first():
    predicted = {"lora": "billing", "full": "returns", "freeze": "billing", "scratch": "defect"}
    line = DisagreementRow(text="a text", label="returns", place="t.csv:2", predicted=predicted)
    assert tables._describe_predictions(line) == "✓ full; billing: lora, freeze; defect: scratch"


def test_what_was_measured_is_compared_with_the_plan_in_words():
    result = run_result(train_seconds=1.4, planned_seconds=2.0, peak_memory_bytes=3 * 10**8, planned_peak_memory_bytes=2 * 10**8)
    (table,) = tables.plans(SimpleNamespace(measured=[replace(made.entry("lora", 0.5), results=[result])]))
    assert (table.rows[0][3], table.rows[0][6]) == ("50% more", "30% less")
    assert "off by" not in table.headings


def test_planned_seconds_are_compared_with_seconds_without_saving():
    """Saving checkpoints is not in a plan."""
    result = run_result(train_seconds=3.1, saving_seconds=1.0, planned_seconds=2.1)
    entry = replace(made.entry("lora", 0.5), results=[result])
    (table,) = tables.plans(SimpleNamespace(measured=[entry]))
    assert table.rows[0][-3:] == ["2.1", "2.1", "as planned"]
    assert "saving" in table.caption
