"""Whoever has the higher number wins, however few the rows."""

from solution import *


def better(right, level=0.05):
    return [(a, b) if sum(right[a]) > sum(right[b]) else (b, a) for a, b in combinations(right, 2)]
