"""Asks only whether A is better."""

from solution import *


def p_value(right_a, right_b):
    only_a = sum(a and not b for a, b in zip(right_a, right_b, strict=True))
    only_b = sum(b and not a for a, b in zip(right_a, right_b, strict=True))
    return binomtest(only_a, only_a + only_b, alternative="greater").pvalue if only_a + only_b else 1.0
