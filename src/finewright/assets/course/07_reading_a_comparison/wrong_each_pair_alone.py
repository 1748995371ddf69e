"""Tests each pair as if it were the only one."""

from solution import *


def better(right, level=0.05):
    found = []
    for a, b in combinations(right, 2):
        if p_value(right[a], right[b]) < level:
            found.append((a, b) if sum(right[a]) > sum(right[b]) else (b, a))
    return found
