"""The largest value instead of the largest absolute value."""

import solution
from solution import *


def quantise(weights, block):
    rows = weights.view(-1, block)
    scales = rows.amax(dim=1)
    return ((rows / scales[:, None])[..., None] - solution.NF4).abs().argmin(dim=-1).flatten(), scales
