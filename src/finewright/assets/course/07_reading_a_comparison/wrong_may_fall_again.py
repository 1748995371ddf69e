"""Forgets that none may be smaller than one before it."""

from solution import *


def holm(p_values):
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    return [min(1.0, p * (len(p_values) - order.index(index))) for index, p in enumerate(p_values)]
