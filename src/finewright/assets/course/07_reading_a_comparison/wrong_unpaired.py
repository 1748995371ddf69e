"""Forgets that both saw the same rows."""

import math

from solution import *


def p_value(right_a, right_b):
    n, a, b = len(right_a), sum(right_a), sum(right_b)
    pooled = (a + b) / (2 * n)
    return math.erfc(abs(a - b) / n / math.sqrt(2 * pooled * (1 - pooled) / n) / math.sqrt(2))
