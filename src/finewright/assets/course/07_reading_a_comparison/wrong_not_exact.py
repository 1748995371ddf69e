"""McNemar's approximation for many rows."""

import math

from solution import *


def p_value(right_a, right_b):
    only_a = sum(a and not b for a, b in zip(right_a, right_b, strict=True))
    only_b = sum(b and not a for a, b in zip(right_a, right_b, strict=True))
    return math.erfc(abs(only_a - only_b) / math.sqrt(only_a + only_b) / math.sqrt(2)) if only_a + only_b else 1.0
