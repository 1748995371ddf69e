"""Several methods on the same test rows, each with one or more seeds: intervals, paired tests, correction for their number.

Two things are random here: which rows are in the test split, and the seed of a run. The intervals resample both, the rows for
all methods together and the seeds of each method separately (the multi-bootstrap, Sellam et al. 2021, arXiv:2106.16163;
percentile intervals, Efron & Tibshirani 1993). Resampling S seeds shows only (S - 1) / S of their variance, so the deviation
of a resample of seeds from their mean is multiplied by the root of S / (S - 1).

A test needs one score for each row, higher is better; where a prediction is right or wrong it is 1 or 0, and the mean is the
accuracy. The test of a pair uses the same two parts: t = mean difference / sqrt(V_rows + V_seeds of the first + V_seeds of
the second). V_rows is the variance over rows of the difference of the means over seeds, divided by the number of rows. Two or
three seeds are a poor estimate of their spread, so the compared methods share one: that of a method is its own, but at least
the mean over methods, with the degrees of freedom of all of them, combined by Satterthwaite's (1946) rule. Methods with one
run each are compared over rows alone: right and wrong by the exact sign test, which is McNemar's, other scores by a
randomisation test of their mean (Fisher 1935).
`benchmarks/false_claims.py` measures how often these tests claim a difference where there is none.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finewright.tasks.metrics import wilson_interval


def paired_p_value(scores_a: Sequence[float], scores_b: Sequence[float]) -> float:
    """Return the probability of such a difference of the means if both methods are equally good, two-sided.

    Both lists have the scores of the same rows, in the same order. Of rows that are right or wrong it is the exact test of
    McNemar (1947). Of other scores the number of rows on which a method is better says little about the mean: the sign of each
    row's difference is drawn `NUM_RESAMPLES` times, with a fixed seed; with few rows every choice of signs is counted. Without
    any difference it is 1.
    """
    from scipy.stats import binomtest

    differences = np.asarray(scores_a, dtype=np.float64) - np.asarray(scores_b, dtype=np.float64)
    if len({*np.abs(differences[differences != 0]).tolist()}) > 1:
        return _randomisation_p_value(differences)
    only_a = sum(a > b for a, b in zip(scores_a, scores_b, strict=True))
    only_b = sum(b > a for a, b in zip(scores_a, scores_b, strict=True))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _randomisation_p_value(differences: np.ndarray) -> float:
    """Return the share of signs that give a mean at least as far from 0. The observed ones count too, where signs are drawn
    (Phipson & Smyth 2010)."""
    differences = differences[differences != 0]
    rng, observed, found = np.random.default_rng(0), abs(differences.sum()), 1
    if 2 ** len(differences) <= NUM_RESAMPLES:
        every = np.array(list(itertools.product((-1.0, 1.0), repeat=len(differences))))
        return float((np.abs(every @ differences) >= observed * (1 - 1e-9)).mean())
    for _ in range(0, NUM_RESAMPLES, RESAMPLES_AT_A_TIME):
        signs = rng.integers(0, 2, (RESAMPLES_AT_A_TIME, len(differences)), dtype=np.int8) * 2.0 - 1
        found += int((np.abs(signs @ differences) >= observed * (1 - 1e-9)).sum())
    return found / (NUM_RESAMPLES + 1)


NUM_RESAMPLES = 10_000
RESAMPLES_AT_A_TIME = 500
"""Bounds the memory that large test splits take."""
SIGNIFICANT = 0.05
"""Level of the tests: below it two methods differ significantly."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class RowScores:
    """Scores of one method, higher is better. `values`: shape (seeds, rows). `seeded`: another seed could give other ones."""

    values: np.ndarray
    seeded: bool = True

    @property
    def mean(self) -> float:
        """Mean over seeds and rows."""
        return float(self.values.mean())

    @property
    def of_seeds(self) -> np.ndarray:
        """Mean over rows, shape (seeds,)."""
        return self.values.mean(axis=1)


@dataclass(frozen=True)
class Predictions:
    """What one method makes of the test rows.

    `chosen`: predicted classes, shape (seeds, rows); `targets`: the correct ones, shape (rows,). `row_scores`: shape (seeds,
    rows), from 0 to 1; without them a row scores 1 if it is right. Where predictions are no classes there are scores alone.
    """

    chosen: np.ndarray | None
    targets: np.ndarray | None
    seeded: bool = True
    row_scores: np.ndarray | None = None

    @classmethod
    def scored(cls, row_scores: np.ndarray, *, seeded: bool = True) -> "Predictions":
        """Return predictions that are no classes."""
        return cls(None, None, seeded, row_scores)

    @property
    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and correct classes."""
        assert self.chosen is not None, "the task has classes"
        assert self.targets is not None, "the task has classes"
        return self.chosen, self.targets

    @property
    def right(self) -> np.ndarray:
        """Whether each seed was right on each row, shape (seeds, rows)."""
        chosen, targets = self.classes
        return chosen == targets

    @property
    def scores(self) -> RowScores:
        """The score of each row."""
        return RowScores(self.right if self.row_scores is None else self.row_scores, self.seeded)


@dataclass(frozen=True)
class Summary:
    """Score and macro F1 of one method, means over its seeds, with 95% intervals over seeds and rows.

    The score of classes is the accuracy. Where predictions are no classes there is no macro F1.
    """

    score: float
    score_ci95: Interval
    macro_f1: float | None = None
    macro_f1_ci95: Interval | None = None


def summarise(candidates: Mapping[str, Predictions], *, num_labels: int, seed: int = 0) -> dict[str, Summary]:
    """Summarise all methods from the same resamples of rows.

    Macro F1 is, in the value and in every resample, the mean over the labels that occur, see `macro_f1`. If all labels of the
    test split counted, a rare label missing from a resample would count 0 and pull the interval below the value. The interval
    of the accuracy of one seed is Wilson's over rows, as in a single run; it is too if all rows came out alike, as resampling
    gives none then. A score between 0 and 1 varies at most as much as right and wrong with the same mean, so that Wilson's
    interval is no narrower than its own.
    """
    if not candidates:
        return {}
    rng = np.random.default_rng(seed)
    resampled = _resample(candidates, num_labels=num_labels, rng=rng)
    summaries = {}
    for name, predictions in candidates.items():
        means, f1s = resampled[name]
        scores = predictions.scores
        num_seeds, num_rows = scores.values.shape
        seeds = rng.integers(0, num_seeds, (num_seeds, means.shape[1]))
        interval = _interval(_over_seeds(means, seeds))
        alike = interval[0] == interval[1]
        if alike or (num_seeds == 1 and np.isin(scores.values, (0, 1)).all()):
            interval = wilson_interval(scores.mean * num_rows, num_rows)
        summaries[name] = Summary(scores.mean, interval)
        if f1s is not None:
            chosen, targets = predictions.classes
            f1 = float(np.mean([macro_f1(one, targets, num_labels=num_labels) for one in chosen]))
            summaries[name] = Summary(scores.mean, interval, f1, _interval(_over_seeds(f1s, seeds)))
    return summaries


def macro_f1(chosen: np.ndarray, targets: np.ndarray, *, num_labels: int) -> float:
    """Return the mean F1 over the labels that occur in these rows or among their predictions, as in `tasks.metrics`."""
    weights = np.ones((1, len(targets)), dtype=np.float32)
    return float(_macro_f1(_counts(chosen, targets, num_labels), weights)[0])


def _resample(
    candidates: Mapping[str, Predictions], *, num_labels: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return mean score and macro F1 of every seed in every resample of rows, both of shape (seeds, resamples)."""
    num_rows = next(iter(candidates.values())).scores.values.shape[1]
    counts = {}
    for name, predictions in candidates.items():
        if predictions.chosen is not None:
            chosen, targets = predictions.classes
            counts[name] = [_counts(one, targets, num_labels) for one in chosen]
    means: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
    f1s: dict[str, list[np.ndarray]] = {name: [] for name in counts}
    for _ in range(0, NUM_RESAMPLES, RESAMPLES_AT_A_TIME):
        weights = rng.multinomial(num_rows, np.full(num_rows, 1 / num_rows), size=RESAMPLES_AT_A_TIME).astype(np.float32)
        for name, predictions in candidates.items():
            means[name].append(predictions.scores.values.astype(np.float32) @ weights.T / num_rows)
            if name in counts:
                f1s[name].append(np.stack([_macro_f1(one, weights) for one in counts[name]]))
    return {
        name: (np.concatenate(found, axis=1), np.concatenate(f1s[name], axis=1) if name in f1s else None)
        for name, found in means.items()
    }


def _counts(chosen: np.ndarray, targets: np.ndarray, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row and label whether it is predicted and correct, and how often it is predicted or correct (0 to 2)."""
    labels = np.arange(num_labels)
    predicted, wanted = chosen[:, None] == labels, targets[:, None] == labels
    return (predicted & wanted).astype(np.float32), predicted.astype(np.float32) + wanted.astype(np.float32)


def _macro_f1(counts: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return macro F1 of every resample over the labels that occur in it. `weights`: shape (resamples, rows)."""
    both, either = weights @ counts[0], weights @ counts[1]  # (resamples, labels)
    return (2 * both / np.maximum(either, 1)).sum(axis=1) / (either > 0).sum(axis=1)


def _over_seeds(values: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return the mean over resampled seeds for every resample of rows. `values`: shape (seeds, resamples)."""
    number, mean = len(values), values.mean(axis=0)
    if number == 1:
        return mean
    moved = np.take_along_axis(values, seeds, axis=0).mean(axis=0) - mean
    return np.clip(mean + np.sqrt(number / (number - 1)) * moved, 0, 1)


def _interval(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Pair:
    """`difference`: mean score of the first minus the second's. `p_value`: corrected for the number of pairs (Holm 1979)."""

    first: str
    second: str
    difference: float
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant."""
        return self.p_value < SIGNIFICANT


def compare_pairs(candidates: Mapping[str, RowScores]) -> list[Pair]:
    """Test every pair and correct all together: the best method is known only afterwards, so any pair could have been the one."""
    pairs, common = list(itertools.combinations(candidates, 2)), spread(list(candidates.values()))
    corrected = holm([p_value(candidates[first], candidates[second], common=common) for first, second in pairs])
    return [
        Pair(first, second, candidates[first].mean - candidates[second].mean, value)
        for (first, second), value in zip(pairs, corrected, strict=True)
    ]


@dataclass(frozen=True)
class Spread:
    """Variance of the mean score over seeds, and the degrees of freedom it was estimated with."""

    variance: float
    freedom: int


def spread(candidates: Sequence[RowScores]) -> Spread | None:
    """Estimate the spread from all methods with several seeds. Return None if there is none."""
    repeated = [one for one in candidates if len(one.values) > 1]
    if not repeated:
        return None
    variances = [one.of_seeds.var(ddof=1) for one in repeated]
    return Spread(float(np.mean(variances)), sum(len(one.values) - 1 for one in repeated))


def p_value(first: RowScores, second: RowScores, *, common: Spread | None) -> float:
    """Return the probability of a difference at least this large if both methods are equally good, two-sided.

    `common`: the spread over seeds of all compared methods. None: only the rows are random.
    """
    if common is None:
        return paired_p_value(first.values[0].tolist(), second.values[0].tolist())
    differences = first.values.mean(axis=0) - second.values.mean(axis=0)
    num_rows = len(differences)
    parts = [(differences.var(ddof=1) / num_rows, num_rows - 1)] if num_rows > 1 else []
    parts += [(_seed_variance(one, common) / len(one.values), common.freedom) for one in (first, second) if one.seeded]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return paired_p_value(first.values[0].tolist(), second.values[0].tolist())
    from scipy.stats import t

    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return float(2 * t.sf(abs(differences.mean()) / np.sqrt(variance), freedom))


def _seed_variance(scores: RowScores, common: Spread) -> float:
    own = scores.of_seeds.var(ddof=1) if len(scores.values) > 1 else 0.0
    return max(float(own), common.variance)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values so that the probability of any false claim among them stays below the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
