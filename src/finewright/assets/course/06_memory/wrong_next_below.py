"""The next value below instead of the nearest."""

import solution
import torch
from solution import *


def quantise(weights, block):
    rows = weights.view(-1, block)
    scales = rows.abs().amax(dim=1)
    places = torch.bucketize((rows / scales[:, None]).flatten(), solution.NF4, right=True) - 1
    return places.clamp(0, 15), scales
