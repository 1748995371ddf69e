"""Tests A against B's accuracy as if that were known for certain."""

from solution import *


def p_value(right_a, right_b):
    return binomtest(sum(right_a), len(right_a), sum(right_b) / len(right_b)).pvalue
