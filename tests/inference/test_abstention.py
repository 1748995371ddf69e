"""Which rows are left without an answer, for a wanted share of answers."""

import numpy as np
import pytest

from finewright.core.errors import UserError
from finewright.inference import abstention
from finewright.inference.abstention import AbstentionRule, CoveragePoint, build_curve, make_rule
from finewright.tasks.text_classification import TextClassification

SURE = np.array([0.9, 0.5, 0.99, 0.6, 0.8, 0.7, 0.7, 0.95, 0.4, 0.3])
RIGHT = np.array([1, 0, 1, 1, 1, 0, 1, 1, 0, 0], dtype=bool)
TASK = TextClassification(("a", "b"))


def test_a_curve_counts_the_rows_at_or_above_each_confidence():
    curve = build_curve(SURE, RIGHT)
    assert curve.points[0] == CoveragePoint(0.99, 1, 1)
    assert CoveragePoint(0.7, 6, 5) in curve.points, "rows of equal confidence are on the same side"
    assert curve.points[-1] == CoveragePoint(0.3, 10, 6)
    assert build_curve(np.array([]), np.array([])) is None


@pytest.mark.parametrize(
    ("share", "threshold", "answered"),
    [(0.9, 0.4, 9), (0.8, 0.5, 8), (0.5, 0.7, 6), (0.05, 0.99, 1), (1, 0, 10), (0.91, 0.3, 10)],
)
def test_the_threshold_is_the_highest_that_answers_the_share(share, threshold, answered):
    found = AbstentionRule(share, build_curve(SURE, RIGHT)).apply(SURE.tolist())
    assert (found.threshold, found.num_answered, found.num_rows) == (threshold, answered, 10)
    assert found.expected_share_right == RIGHT[np.argsort(-SURE)][:answered].mean()


def test_the_threshold_does_not_depend_on_the_rows_of_the_call():
    rule = AbstentionRule(0.8, build_curve(SURE, RIGHT))
    together = [value >= rule.apply(SURE.tolist()).threshold for value in SURE.tolist()]
    assert together == [value >= rule.apply([value]).threshold for value in SURE.tolist()]
    found = rule.apply([0.2, None, float("nan"), 0.6])
    assert (found.num_rows, found.num_answered) == (2, 1), "rows without a text do not count"
    everything = AbstentionRule(1.0, build_curve(SURE, RIGHT)).apply([0.1])
    assert everything.num_answered == 1, "less certain than any validation row"


def test_without_validation_the_rows_set_the_threshold():
    found = AbstentionRule(0.8, None).apply(SURE.tolist())
    assert (found.threshold, found.num_answered, found.expected_share_right) == (0.5, 8, None)
    assert found.reason == "80% of these rows are at or above it"
    assert found.as_json()["threshold_from"] == "these rows"
    assert AbstentionRule(0.8, None).apply([None]).num_answered == 0


def test_a_long_curve_is_thinned_by_the_share_of_rows():
    rng = np.random.default_rng(0)
    sure, right = 1 - rng.random(20_000) ** 4 / 2, rng.random(20_000) < 0.8
    whole = build_curve(sure, right)
    assert len(whole.points) <= abstention.MOST_POINTS
    assert whole.num_rows == 20_000
    for share in (0.1, 0.5, 0.9, 0.99):
        assert share <= whole.find_point(share).num_rows / 20_000 <= share + 2 / abstention.MOST_POINTS


def test_answered_rows_are_measured():
    found = AbstentionRule(0.5, build_curve(SURE, RIGHT)).measure(SURE, RIGHT)
    assert (found["num_answered"], found["coverage"], found["share_right"]) == (6, 0.6, 5 / 6)
    nothing = AbstentionRule(0.05, build_curve(SURE, RIGHT)).measure(np.array([0.5]), np.array([True]))
    assert (nothing["num_answered"], nothing["share_right"]) == (0, None)


@pytest.mark.parametrize("share", [0, 1.5, -0.1, "abc", None, True, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(UserError, match="wanted the share of rows to answer, above 0 and at most 1, found ") as caught:
        make_rule(share, curve=None, task=TASK)
    assert caught.value.where == "--abstain"
