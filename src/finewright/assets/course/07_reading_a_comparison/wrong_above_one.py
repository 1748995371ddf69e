"""Lets a probability grow above 1."""

from solution import *


def holm(p_values):
    adjusted, before = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        before = max(before, p_values[index] * (len(p_values) - place))
        adjusted[index] = before
    return adjusted
