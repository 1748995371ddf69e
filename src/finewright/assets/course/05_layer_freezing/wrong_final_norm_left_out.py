"""Counts the layers alone."""

from solution import *


def shares(model):
    layer, total = (sum(p.numel() for p in part.parameters()) for part in (model.transformer.h[0], model.transformer))
    return [number * layer / total for number in range(len(model.transformer.h) + 1)]
