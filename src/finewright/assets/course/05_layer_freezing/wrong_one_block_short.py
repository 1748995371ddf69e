"""Stops one block early."""

import solution
from solution import *


def train_top(model, num_blocks):
    blocks = model.transformer.h
    solution._only(model, [*blocks[len(blocks) - num_blocks + 1 :], model.transformer.ln_f, model.score])
