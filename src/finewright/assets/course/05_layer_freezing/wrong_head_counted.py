"""Counts the head on both sides."""

from solution import *


def shares(model):
    def size(part):
        return sum(p.numel() for p in part.parameters())

    always = size(model.transformer.ln_f) + size(model.score)
    return [(number * size(model.transformer.h[0]) + always) / size(model) for number in range(len(model.transformer.h) + 1)]
