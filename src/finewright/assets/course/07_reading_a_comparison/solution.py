"""Lesson 7: one possible solution."""

from itertools import combinations

from scipy.stats import binomtest


def interval(num_right: int, num_rows: int) -> tuple[float, float]:
    """scipy knows Wilson."""
    found = binomtest(num_right, num_rows).proportion_ci(0.95, method="wilson")
    return found.low, found.high


def p_value(right_a: list[bool], right_b: list[bool]) -> float:
    """Only the rows on which they differ."""
    only_a = sum(a and not b for a, b in zip(right_a, right_b, strict=True))
    only_b = sum(b and not a for a, b in zip(right_a, right_b, strict=True))
    return binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0


def holm(p_values: list[float]) -> list[float]:
    """From the smallest up."""
    adjusted, before = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        before = max(before, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = before
    return adjusted


def better(right: dict[str, list[bool]], level: float = 0.05) -> list[tuple[str, str]]:
    """Test every pair, correct all p-values together, then look which of the two is ahead."""
    pairs = list(combinations(right, 2))
    found = []
    for (a, b), p in zip(pairs, holm([p_value(right[a], right[b]) for a, b in pairs]), strict=True):
        if p < level:
            found.append((a, b) if sum(right[a]) > sum(right[b]) else (b, a))
    return found
