"""Calls methods different only when their intervals do not touch: a paired test sees more."""

from solution import *


def better(right, level=0.05):
    found = []
    for a, b in [*combinations(right, 2), *combinations(reversed(list(right)), 2)]:
        if interval(sum(right[a]), len(right[a]))[0] > interval(sum(right[b]), len(right[b]))[1]:
            found.append((a, b))
    return found
