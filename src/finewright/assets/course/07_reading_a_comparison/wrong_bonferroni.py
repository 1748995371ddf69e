"""Multiplies all by n: safe, but blinder than Holm."""

from solution import *


def holm(p_values):
    return [min(1.0, p * len(p_values)) for p in p_values]
