"""What differs between two runs is listed in lines: tables of a run stay in the run."""

from types import SimpleNamespace

import pytest

from finewright.runs import difference
from finewright.runs.split_metrics import RunMetrics


@pytest.mark.parametrize(
    "table",
    [
        {"accuracy": 0.5, "accuracy_ci95": (0.1, 0.9), "macro_f1": 0.5, "majority_accuracy": 0.5, "confusions": []},
        {"type_confusion": {"PER": {"none": 3}}, "per_type": {"PER": {"f1": 0.5}}},
    ],
)
def test_tables_of_a_split_are_left_out(table):
    metrics = RunMetrics.model_validate({"test": {"num_rows": 4, "loss": 0.25, **table}})
    result = SimpleNamespace(metrics=metrics, **dict.fromkeys(difference._RESULTS))
    found = difference._metrics(result)  # pyrefly: ignore
    assert found["test.loss"] == 0.25
    assert not {"test.confusions", "test.levels", "test.per_type", "test.type_confusion"} & found.keys()
