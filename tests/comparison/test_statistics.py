"""Intervals and tests: known values, known pitfalls, and how often they are right where the truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from finewright.comparison import statistics
from finewright.comparison.statistics import Predictions, RowScores, paired_p_value
from finewright.tasks.metrics import wilson_interval
from support import made


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(statistics, "NUM_RESAMPLES", 1000)


def test_macro_f1_is_scikit_learns():
    rng = np.random.default_rng(0)
    chosen, targets = rng.integers(0, 4, 50), rng.integers(0, 3, 50)
    expected = f1_score(targets, chosen, average="macro", zero_division=0)
    assert statistics.macro_f1(chosen, targets, num_labels=5) == pytest.approx(expected)


def test_the_interval_of_macro_f1_contains_its_value_where_labels_are_missing(few):
    """A test of one class among six; and forty labels of which resamples lack many."""
    one = Predictions(np.array([[0] * 27 + [1] * 3, [0] * 30]), np.zeros(30, dtype=int))
    right = Predictions(np.zeros((1, 30), dtype=int), np.zeros(30, dtype=int))
    rng = np.random.default_rng(0)
    targets = np.arange(120) % 40
    many = Predictions(np.where(rng.random((2, 120)) < 0.7, targets, rng.integers(0, 40, (2, 120))), targets)
    for method, expected in ((one, (27 / 57 + 1) / 2), (right, 1.0), (many, None)):
        summary = statistics.summarise({"a": method}, num_labels=50)["a"]
        low, high = summary.macro_f1_ci95
        assert low <= summary.macro_f1 <= high
        assert expected is None or summary.macro_f1 == pytest.approx(expected)


def test_means_are_over_seeds_and_within_their_interval(few):
    method = made.predictions(0.8, seeds=3)
    summary = statistics.summarise({"a": method}, num_labels=2)["a"]
    assert summary.score == pytest.approx(np.mean([(one == method.targets).mean() for one in method.chosen]))
    f1s = [f1_score(method.targets, one, average="macro") for one in method.chosen]
    assert summary.macro_f1 == pytest.approx(np.mean(f1s))
    assert summary.score_ci95[0] < summary.score < summary.score_ci95[1]
    assert summary.macro_f1_ci95[0] < summary.macro_f1 < summary.macro_f1_ci95[1]


def test_with_one_seed_the_interval_is_the_one_of_rows(few):
    """Normal approximation of a share: 0.8 ± 1.96 · sqrt(0.16 / 1000)."""
    targets = np.zeros(1000, dtype=int)
    method = Predictions(np.array([[0] * 800 + [1] * 200]), targets)
    low, high = statistics.summarise({"a": method}, num_labels=2)["a"].score_ci95
    assert (low, high) == pytest.approx((0.7752, 0.8248), abs=0.004)
    assert (low, high) == wilson_interval(800, 1000), "the numbers of a single run"


def test_all_rows_right_is_not_certainty(few):
    method = Predictions(np.zeros((2, 30), dtype=int), np.zeros(30, dtype=int))
    assert statistics.summarise({"a": method}, num_labels=2)["a"].score_ci95 == wilson_interval(30, 30)


def test_seeds_that_differ_widen_the_interval_and_few_of_them_are_stretched():
    """Constant over rows, so that only the seeds vary: the variance of their mean is s² / S, not (S - 1) / S of it."""
    rng = np.random.default_rng(0)
    accuracies = np.array([0.5, 0.6, 0.7])
    values = np.repeat(accuracies[:, None], 100_000, axis=1)
    moved = statistics._over_seeds(values, rng.integers(0, 3, values.shape))
    assert moved.mean() == pytest.approx(0.6, abs=0.001)
    assert moved.var() == pytest.approx(accuracies.var(ddof=1) / 3, rel=0.02)
    assert (statistics._over_seeds(values[:1], np.zeros((1, 100_000), dtype=int)) == 0.5).all()


def test_the_same_seed_gives_the_same_interval_and_methods_do_not_affect_each_other(few):
    candidates = {"a": made.predictions(0.8), "b": made.predictions(0.7, seed=1)}
    both, again = (statistics.summarise(candidates, num_labels=2) for _ in range(2))
    assert both == again
    assert both["a"] == statistics.summarise({"a": candidates["a"]}, num_labels=2)["a"]


def _simulated(rng, *, seeds, rows, ability, spread):
    """Right or wrong by a logistic model: rows are easy or hard for all, methods and seeds are good or bad."""
    ease = rng.normal(0, 1.5, rows)
    own = [rng.normal(0, 0.75, rows) for _ in ability]
    talent = [rng.normal(0, spread, (seeds, 1)) for _ in ability]
    chances = [1 / (1 + np.exp(-(a + ease + o + t))) for a, o, t in zip(ability, own, talent, strict=True)]
    targets = np.zeros(rows, dtype=int)
    return [Predictions((rng.random(chance.shape) >= chance).astype(int), targets) for chance in chances]


def _claims(rng, *, ability, trials, **options):
    """Share of comparisons that tell any two methods apart."""
    compared = [dict(enumerate(one.scores for one in _simulated(rng, ability=ability, **options))) for _ in range(trials)]
    return np.mean([any(pair.is_significant for pair in statistics.compare_pairs(candidates)) for candidates in compared])


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.3), (3, 0.0), (3, 0.3), (5, 0.5)])
def test_equally_good_methods_are_rarely_told_apart(seeds, spread):
    """Any false claim among all pairs of four methods: nominally 5%, and with 200 trials 10% is three standard errors above."""
    assert _claims(np.random.default_rng(seeds), ability=[1.5] * 4, trials=200, seeds=seeds, rows=150, spread=spread) < 0.1


def test_a_real_difference_is_found():
    assert _claims(np.random.default_rng(7), ability=[1.5, 1.5, 2.8], trials=50, seeds=3, rows=300, spread=0.2) > 0.8


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.1), (3, 0.4), (5, 0.4)])
def test_intervals_contain_the_truth_nearly_as_often_as_they_claim(seeds, spread, monkeypatch):
    monkeypatch.setattr(statistics, "NUM_RESAMPLES", 500)
    rng, held = np.random.default_rng(3), []
    noise = 1.5 + rng.normal(0, 1, 1_000_000) * np.sqrt(1.5**2 + 0.75**2 + spread**2)
    truth = (1 / (1 + np.exp(-noise))).mean()
    for _ in range(150):
        (method,) = _simulated(rng, seeds=seeds, rows=150, ability=(1.5,), spread=spread)
        low, high = statistics.summarise({"a": method}, num_labels=2)["a"].score_ci95
        held.append(low <= truth <= high)
    assert np.mean(held) > 0.89


def test_one_seed_each_is_mcnemar():
    one, other = made.predictions(0.8).scores, made.predictions(0.7, seed=3).scores
    assert statistics.spread([one, other]) is None
    only_one, only_other = ((a & ~b).sum() for a, b in ((one.values, other.values), (other.values, one.values)))
    expected = binomtest(int(only_one), int(only_one + only_other)).pvalue
    assert paired_p_value(one.values[0].tolist(), other.values[0].tolist()) == expected
    assert statistics.p_value(one, other, common=None) == expected
    (pair,) = statistics.compare_pairs({"one": one, "other": other})
    assert pair.p_value == expected


def _right(*seeds):
    return RowScores(np.array(seeds, dtype=bool))


def test_right_and_wrong_and_scores_of_1_and_0_are_the_same_to_the_bit(few):
    for seeds in (1, 3):
        given = [made.predictions(share, seeds=seeds, seed=number) for number, share in enumerate((0.9, 0.8, 0.6))]
        scored = [replace(one, row_scores=one.right.astype(float)) for one in given]
        right, scores = (statistics.compare_pairs({n: one.scores for n, one in enumerate(some)}) for some in (given, scored))
        assert right == scores
        summaries = (statistics.summarise({n: one for n, one in enumerate(some)}, num_labels=2) for some in (given, scored))
        assert next(summaries) == next(summaries)


def test_any_score_of_a_row_can_be_compared():
    """Squared errors, negated: of one seed by a randomisation test, of several by Student's t."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=60)
    good, bad = (RowScores(-((rows + rng.normal(size=(2, 60)) * noise) ** 2)) for noise in (0.1, 0.2))
    (pair,) = statistics.compare_pairs({"good": good, "same": RowScores(good.values.copy())})
    assert (pair.difference, pair.p_value) == (0.0, 1.0)
    (pair,) = statistics.compare_pairs({"good": RowScores(good.values + 1), "bad": bad})
    assert pair.is_significant
    assert pair.difference == pytest.approx(1 + good.mean - bad.mean)
    assert paired_p_value([0.3, 2.0, -1.0, 5.0], [0.1, 2.0, -3.0, 4.0]) == pytest.approx(2 * 0.5**3)


def test_scores_that_are_not_right_or_wrong_are_tested_by_their_mean():
    """Better by little on most rows and worse by much on some: the sign test would claim the opposite of the means."""
    one, other = np.full(60, 0.5), np.full(60, 0.5)
    one[:45] += 0.01
    other[45:] += 0.5
    found = paired_p_value(one.tolist(), other.tolist())
    assert one.mean() < other.mean()
    assert found == paired_p_value(other.tolist(), one.tolist()) == paired_p_value(one.tolist(), other.tolist())
    assert binomtest(45, 60).pvalue < found < 0.001
    rng = np.random.default_rng(0)
    same = [paired_p_value(*rng.random((2, 40)).round(1).tolist()) for _ in range(200)]
    assert np.mean(np.array(same) < 0.05) < 0.1


def test_students_t_by_hand():
    """Accuracies of the seeds: 3/4 and 1/4; 1/4 and 1/4. Mean difference of the rows: 1/2, 1/2, 0, 0."""
    one, other = _right([1, 1, 1, 0], [1, 0, 0, 0]), _right([0, 0, 1, 0], [1, 0, 0, 0])
    common = statistics.spread([one, other])
    assert (common.variance, common.freedom) == (pytest.approx(0.125 / 2), 2)
    differences = one.values.mean(axis=0) - other.values.mean(axis=0)
    rows, first, second = differences.var(ddof=1) / 4, 0.125 / 2, 0.0625 / 2
    total = rows + first + second
    freedom = total**2 / (rows**2 / 3 + first**2 / 2 + second**2 / 2)
    from scipy.stats import t

    expected = 2 * t.sf(differences.mean() / np.sqrt(total), freedom)
    assert statistics.p_value(one, other, common=common) == pytest.approx(expected)


def test_a_seed_cannot_move_a_baseline_but_could_have_moved_a_method_with_one_run_left():
    method, other = made.predictions(0.8, seeds=3).scores, made.predictions(0.6, seed=5).scores
    common = statistics.spread([method])
    fixed = RowScores(other.values, seeded=False)
    assert statistics.p_value(method, other, common=common) > statistics.p_value(method, fixed, common=common)


def test_identical_methods_cannot_be_told_apart():
    method = made.predictions(0.8, seeds=2).scores
    assert statistics.p_value(method, method, common=statistics.spread([method])) == 1.0
    alike, wrong = _right([1] * 9, [1] * 9), _right([0] * 9, [0] * 9)
    common = statistics.spread([alike, wrong])
    assert statistics.p_value(alike, alike, common=common) == 1.0
    assert statistics.p_value(alike, wrong, common=common) == pytest.approx(2 * 0.5**9)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_pairs_are_all_pairs_and_corrected_together():
    candidates = {
        name: made.predictions(share, seed=number).scores
        for number, (name, share) in enumerate({"a": 0.9, "b": 0.88, "c": 0.5}.items())
    }
    pairs = {(pair.first, pair.second): pair for pair in statistics.compare_pairs(candidates)}
    assert set(pairs) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert pairs["a", "c"].is_significant
    assert not pairs["a", "b"].is_significant
    assert pairs["a", "c"].difference == pytest.approx(candidates["a"].mean - candidates["c"].mean)
    assert pairs["a", "b"].p_value >= statistics.p_value(candidates["a"], candidates["b"], common=None)


def test_an_empty_comparison_is_no_error():
    assert statistics.summarise({}, num_labels=2) == {}
    assert statistics.compare_pairs({}) == []
