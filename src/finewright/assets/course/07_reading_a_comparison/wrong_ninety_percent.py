"""An interval of 90%."""

from solution import *


def interval(num_right, num_rows):
    found = binomtest(num_right, num_rows).proportion_ci(0.90, method="wilson")
    return found.low, found.high
