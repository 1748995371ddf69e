"""A small real comparison with several labels per text: its files are the rows again, and F1 per text is compared."""

import json
import random

import pytest

import finewright
from finewright.comparison.folder import ComparisonFolder
from finewright.core.config import DataConfig
from finewright.data.dataset import read_dataset
from finewright.data.multi_label_rows import labels_of
from support import tiny

pytestmark = pytest.mark.slow

FAST = {"training.max_steps": 3, "training.precision": "float32", "training.num_threads": 1}
WORDS = {"bill|ing": "charged twice", "shipping": "where is my parcel", "urgent": "send it please"}


@pytest.fixture(scope="module")
def compared(tmp_path_factory, quick_comparisons):
    root = tmp_path_factory.mktemp("sets")
    tiny.folder(root / "gpt2")
    draw, lines = random.Random(0), []
    for number in range(90):
        own = [name for name in WORDS if draw.random() < 0.4]
        lines.append({"text": f"{' '.join(WORDS[name] for name in own) or 'hello'} {number}", "labels": own})
    (root / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    how = {"model": str(root / "gpt2"), "methods": ["freeze"], "seeds": 1, "jobs": 1, "options": FAST, "train_sizes": [20, "all"]}
    return root / "rows.jsonl", finewright.compare(root / "rows.jsonl", output_dir=root / "out", **how)


def test_every_method_and_baseline_has_f1_per_text_with_an_interval(compared):
    found = compared[1].file
    assert (found.task, found.metric, found.metric_words) == ("multi-label-classification", "samples_f1", "F1 per text")
    assert {*found.by_method} >= {"freeze", "bag-of-words", "frozen-features", "majority"}
    for row in found.measured:
        low, high = row.score_ci95
        assert low <= row.score <= high
        assert {"micro_f1", "macro_f1", "average_precision", "loss"} == {*row.test_metrics}
    assert found.by_method["bag-of-words"].score > found.by_method["majority"].score
    assert {(row.method, row.size) for row in found.curve} >= {("freeze", "20"), ("freeze", "all"), ("majority", "20")}
    assert found.pairs
    assert not found.has_classes


def test_the_files_of_its_splits_are_the_rows_again_even_with_a_line_in_a_label(compared):
    source, comparison = compared
    again = read_dataset(ComparisonFolder(comparison.path).data("all"), options=DataConfig(), row_kind="multi-label")
    asked = read_dataset(source, options=DataConfig(), row_kind="multi-label")
    assert again.labels == asked.labels == ("bill|ing", "shipping", "urgent")
    for split in ("train", "validation", "test"):
        assert [(row.text, labels_of(row)) for row in getattr(again, split)] == [
            (row.text, labels_of(row)) for row in getattr(asked, split)
        ]


def test_the_report_has_a_bar_for_each_label(compared):
    page = (compared[1].path / "report.html").read_text()
    assert "Which labels are found" in page
    assert "F1 by label, freeze: " in page
    text = (compared[1].path / "report.md").read_text()
    assert "F1 by label and method" in text
    assert "drawn towards 0.5" in text
    assert "Which labels are confused" not in text
