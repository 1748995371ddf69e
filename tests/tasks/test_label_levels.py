"""Labels in levels: which labels have them, and what is measured of each level."""

import numpy as np
import pytest

from finewright.tasks import label_levels
from finewright.tasks.text_classification import TextClassification

LABELS = ("phones > cases", "phones > chargers", "toys > cars", "toys")


@pytest.mark.parametrize(
    ("labels", "separator"),
    [
        (LABELS[:3], " > "),
        (["a/b", "a/c", "d/e"], "/"),
        (["a::b::c", "a::b::d", "e::f::g"], "::"),
        (["yes", "no", "n/a"], ""),
        (["01/02/2020", "01/03/2020", "02/02/2020"], ""),
        (["a > b/c", "d > b/c", "e > f/g", "h > b/i"], ""),
        (["a/b > x", "a/b > y", "c/d > x"], " > "),
        (["n/a", "w/o"], ""),  # no two of them share the first level
        (["a/b", "a/c"], ""),  # all of them share it
        (["a > ", "a > b", "c > d"], ""),  # a part is empty
    ],
)
def test_the_separator_is_found_where_labels_share_levels(labels, separator):
    assert label_levels.find_separator(labels) == separator


def test_levels_by_hand():
    targets, predicted = np.array([0, 0, 2, 3]), np.array([1, 0, 0, 2])
    measured = label_levels.measure_levels(predicted, targets, labels=LABELS, separator=" > ")
    (first,) = measured["levels"]
    assert (first["level"], first["num_labels"], first["num_rows"], first["accuracy"]) == (1, 2, 4, 0.75)
    assert first["accuracy_ci95"][0] < 0.75 < first["accuracy_ci95"][1]
    # common: phones; phones and cases; none; toys. Sizes: 2 + 2, 2 + 2, 2 + 2, 1 + 2
    assert measured["hierarchical_f1"] == pytest.approx(2 * 4 / 15)


def test_only_labels_in_levels_have_their_metrics():
    for labels, has_levels in ((LABELS, False), (LABELS[:3], True)):  # of four labels three have two levels: too few
        evaluation = TextClassification(labels).start_evaluation([0, 1])
        evaluation.update([0, 1], np.eye(len(labels), dtype=np.float32)[[0, 0]])
        assert ("levels" in evaluation.metrics()) == has_levels
    assert evaluation.metrics()["levels"][0]["accuracy"] == 1.0, "the wrong label has the right first level"
