"""One scale for the whole tensor: one large weight spoils all others."""

import solution
from solution import *


def quantise(weights, block):
    scales = weights.abs().max().expand(len(weights) // block)
    return ((weights / scales[0])[:, None] - solution.NF4).abs().argmin(-1), scales
