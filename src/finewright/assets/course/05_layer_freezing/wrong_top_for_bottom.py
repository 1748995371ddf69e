"""Trains the top in both functions."""

import solution
from solution import *


def train_bottom(model, num_blocks):
    solution._only(model, [*model.transformer.h[len(model.transformer.h) - num_blocks :], model.score])
