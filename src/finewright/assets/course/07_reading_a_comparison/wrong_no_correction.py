"""Gives the p-values back as they are."""

from solution import *


def holm(p_values):
    return list(p_values)
