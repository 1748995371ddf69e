"""Sixteen evenly spaced values instead of NF4's."""

import torch
from solution import *


def quantise(weights, block):
    rows = weights.view(-1, block)
    scales = rows.abs().amax(dim=1)
    even = torch.linspace(-1, 1, 16)
    return ((rows / scales[:, None])[..., None] - even).abs().argmin(dim=-1).flatten(), scales
