"""Counts the blocks alone."""

from solution import *


def shares(model):
    block, total = (sum(p.numel() for p in part.parameters()) for part in (model.transformer.h[0], model.transformer))
    return [number * block / total for number in range(len(model.transformer.h) + 1)]
