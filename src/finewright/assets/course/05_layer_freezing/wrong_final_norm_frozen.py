"""Forgets the final norm above the blocks."""

import solution
from solution import *


def train_top(model, num_blocks):
    blocks = model.transformer.h
    solution._only(model, [*blocks[len(blocks) - num_blocks :], model.score])
