"""Trains the top in both functions."""

import solution
from solution import *


def train_bottom(model, num_layers):
    solution._only(model, [*model.transformer.h[len(model.transformer.h) - num_layers :], model.score])
