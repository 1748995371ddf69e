"""Results with any number of labels per text in words: scores, the weakest label, a table that stays short."""

import numpy as np

from finewright.cli import multi_label_view
from finewright.tasks import multi_label_metrics


def measure(num_labels=3, num_rows=40):
    dice = np.random.default_rng(0)
    targets = (dice.random((num_rows, num_labels)) < 0.4).astype(np.uint8)
    scores = targets * 4.0 - 2
    scores[:10, 0] = -scores[:10, 0]
    labels = [f"label {number}" for number in range(num_labels)]
    return multi_label_metrics.measure(scores, targets, labels=labels, thresholds=[0.5] * num_labels)


def test_scores_and_the_weakest_label_are_named():
    measured = measure()
    first, second, weakest = multi_label_view.describe_scores(measured, rows="unseen texts")
    low, high = measured["micro_f1_ci95"]
    assert first == f"micro F1 {measured['micro_f1']:.1%} of 40 unseen texts (95% interval {low:.1%} to {high:.1%})"
    assert second.startswith(f"macro F1 {measured['macro_f1']:.1%}, exactly right 75.0%")
    assert weakest.startswith("weakest label: label 0, F1 ")


def test_nothing_is_weak_where_all_is_right():
    per_label = {name: {"f1": 1.0, "precision": 1.0, "recall": 1.0, "num_rows": 5} for name in "ab"}
    assert multi_label_view.describe_weakest_label(per_label) == ""


def test_of_many_labels_the_most_frequent_are_shown():
    measured = measure(num_labels=1000)
    headings, rows, left_out = multi_label_view.label_rows(measured["per_label"])
    assert headings == ["label", "precision", "recall", "F1", "threshold", "rows"]
    assert (len(rows), left_out) == (20, 980)
    counts = [int(row[-1]) for row in rows]
    assert counts == sorted(counts, reverse=True)
    assert min(counts) >= max(
        one["num_rows"] for name, one in measured["per_label"].items() if name not in {row[0] for row in rows}
    )
