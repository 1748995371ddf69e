"""Several ways on the same test rows, each with one or more seeds: intervals, paired tests, correction for their number.

Two things are chance here: which rows are in the test, and the seed of a run. The intervals resample both at once, the
rows for all ways together and the seeds for each way apart (the multi-bootstrap, Sellam et al. 2021, arXiv:2106.16163;
percentile intervals, Efron & Tibshirani 1993). Resampling S seeds shows only (S - 1) / S of their variance, so what a
resample of seeds differs from their mean is stretched by the root of S / (S - 1).

The test of a pair takes the same two parts: t = mean difference / sqrt(V_rows + V_seeds of the one + V_seeds of the
other). V_rows is the variance over rows of the difference of the seeds' means, by the number of rows. Two or three seeds
say little about their spread, so all compared ways tell it together: a way's is its own, but no less than the mean over
ways, with the degrees of freedom of all of them, put together by Satterthwaite's (1946) rule. Ways with one run each are
compared by McNemar's exact test over rows alone. `benchmarks/false_claims.py` measures how often these tests claim a
difference where there is none.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finewright.tasks.metrics import wilson_interval


def paired_p_value(right_a: Sequence[bool], right_b: Sequence[bool]) -> float:
    """Chance of a difference at least this large between two ways that are equally good (exact McNemar 1947, two-sided).

    Both lists tell, for the same rows in the same order, whether a way was right. No difference at all is 1.
    """
    from scipy.stats import binomtest

    only_a = sum(a and not b for a, b in zip(right_a, right_b, strict=True))
    only_b = sum(b and not a for a, b in zip(right_a, right_b, strict=True))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


NUM_RESAMPLES = 10_000
BLOCK = 500
"""Resamples made at once, so that large test sets stay within memory."""
SIGNIFICANT = 0.05

Interval = tuple[float, float]


@dataclass(frozen=True)
class Predictions:
    """Of one way. `chosen`: class numbers, shape (seeds, rows); `targets`: the right ones, shape (rows,).

    `seeded`: another seed could have come out differently.
    """

    chosen: np.ndarray
    targets: np.ndarray
    seeded: bool = True

    @property
    def right(self) -> np.ndarray:
        """Which rows each seed got right, shape (seeds, rows)."""
        return self.chosen == self.targets

    @property
    def accuracy(self) -> float:
        """Mean over seeds and rows."""
        return float(self.right.mean())


@dataclass(frozen=True)
class Summary:
    """Accuracy and macro F1 of one way, means over its seeds, with 95 % intervals over seeds and rows."""

    accuracy: float
    accuracy_ci95: Interval
    macro_f1: float
    macro_f1_ci95: Interval


def summarise(candidates: Mapping[str, Predictions], *, num_labels: int, seed: int = 0) -> dict[str, Summary]:
    """Every way's summary, from the same resamples of rows.

    Macro F1 follows one rule in the value and in every resample: the mean over the labels that are there, see `macro_f1`. With
    the whole set's labels as divisor, a rare label that a resample lacks would count 0 and pull the interval below the value.
    An interval of the accuracy that resampling cannot open, because every row came out alike, is Wilson's over rows.
    """
    if not candidates:
        return {}
    rng = np.random.default_rng(seed)
    resampled = _resample(candidates, num_labels=num_labels, rng=rng)
    summaries = {}
    for name, way in candidates.items():
        accuracies, f1s = resampled[name]
        seeds = rng.integers(0, len(way.chosen), (len(way.chosen), accuracies.shape[1]))
        accuracy_interval = _interval(_over_seeds(accuracies, seeds))
        if accuracy_interval[0] == accuracy_interval[1]:
            accuracy_interval = wilson_interval(way.accuracy * len(way.targets), len(way.targets))
        f1 = float(np.mean([macro_f1(chosen, way.targets, num_labels=num_labels) for chosen in way.chosen]))
        summaries[name] = Summary(way.accuracy, accuracy_interval, f1, _interval(_over_seeds(f1s, seeds)))
    return summaries


def macro_f1(chosen: np.ndarray, targets: np.ndarray, *, num_labels: int) -> float:
    """Mean F1 over the labels that occur in these rows or among their predictions, as `metrics.classification` has it."""
    weights = np.ones((1, len(targets)), dtype=np.float32)
    return float(_macro_f1(_counts(chosen, targets, num_labels), weights)[0])


def _resample(
    candidates: Mapping[str, Predictions], *, num_labels: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Accuracy and macro F1 of every seed in every resample of rows, both of shape (seeds, resamples)."""
    num_rows = len(next(iter(candidates.values())).targets)
    counts = {name: [_counts(chosen, way.targets, num_labels) for chosen in way.chosen] for name, way in candidates.items()}
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in candidates}
    for _ in range(0, NUM_RESAMPLES, BLOCK):
        weights = rng.multinomial(num_rows, np.full(num_rows, 1 / num_rows), size=BLOCK).astype(np.float32)
        for name, way in candidates.items():
            accuracies = way.right.astype(np.float32) @ weights.T / num_rows
            f1s = np.stack([_macro_f1(one, weights) for one in counts[name]])
            parts[name].append((accuracies, f1s))
    whole = {}
    for name, found in parts.items():
        accuracies, f1s = (np.concatenate(kind, axis=1) for kind in zip(*found, strict=True))
        whole[name] = (accuracies, f1s)
    return whole


def _counts(chosen: np.ndarray, targets: np.ndarray, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """For every row and label: whether it is both predicted and right; how often it is predicted or right (0 to 2)."""
    labels = np.arange(num_labels)
    predicted, wanted = chosen[:, None] == labels, targets[:, None] == labels
    return (predicted & wanted).astype(np.float32), predicted.astype(np.float32) + wanted.astype(np.float32)


def _macro_f1(counts: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Macro F1 of every resample, over the labels that the resample has; `weights` (resamples, rows)."""
    both, either = weights @ counts[0], weights @ counts[1]  # (resamples, labels)
    return (2 * both / np.maximum(either, 1)).sum(axis=1) / (either > 0).sum(axis=1)


def _over_seeds(values: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Mean over resampled seeds for every resample of rows; `values` (seeds, resamples)."""
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
    """`difference`: accuracy of the first minus that of the second. `p_value`: corrected for the number of pairs (Holm 1979)."""

    first: str
    second: str
    difference: float
    p_value: float

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance would make."""
        return self.p_value < SIGNIFICANT


def compare_pairs(candidates: Mapping[str, Predictions]) -> list[Pair]:
    """Every pair, tested and corrected together: the best is only known after looking, so every pair had its chance."""
    couples, common = list(itertools.combinations(candidates, 2)), spread(list(candidates.values()))
    corrected = holm([p_value(candidates[first], candidates[second], common=common) for first, second in couples])
    return [
        Pair(first, second, candidates[first].accuracy - candidates[second].accuracy, value)
        for (first, second), value in zip(couples, corrected, strict=True)
    ]


@dataclass(frozen=True)
class Spread:
    """Variance of the accuracy over seeds, and the degrees of freedom it was estimated with."""

    variance: float
    freedom: int


def spread(candidates: Sequence[Predictions]) -> Spread | None:
    """What all ways with several seeds tell together; None when there is none."""
    repeated = [way for way in candidates if len(way.chosen) > 1]
    if not repeated:
        return None
    variances = [way.right.mean(axis=1).var(ddof=1) for way in repeated]
    return Spread(float(np.mean(variances)), sum(len(way.chosen) - 1 for way in repeated))


def p_value(first: Predictions, second: Predictions, *, common: Spread | None) -> float:
    """Chance of a difference at least this large between two ways that are equally good, two-sided.

    `common`: the spread over seeds that all compared ways tell together; without one only rows are chance.
    """
    if common is None:
        return paired_p_value(first.right[0].tolist(), second.right[0].tolist())
    differences = first.right.mean(axis=0) - second.right.mean(axis=0)
    num_rows = len(differences)
    parts = [(differences.var(ddof=1) / num_rows, num_rows - 1)] if num_rows > 1 else []
    parts += [(_seed_variance(way, common) / len(way.chosen), common.freedom) for way in (first, second) if way.seeded]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return paired_p_value(first.right[0].tolist(), second.right[0].tolist())
    from scipy.stats import t

    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return float(2 * t.sf(abs(differences.mean()) / np.sqrt(variance), freedom))


def _seed_variance(way: Predictions, common: Spread) -> float:
    own = way.right.mean(axis=1).var(ddof=1) if len(way.chosen) > 1 else 0.0
    return max(float(own), common.variance)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected so that the chance of any false claim among them stays below the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
