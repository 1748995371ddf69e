"""blocks[-0:] is every block."""

import solution
from solution import *


def train_top(model, num_blocks):
    blocks = model.transformer.h
    solution._only(model, [*blocks[-num_blocks:], model.transformer.ln_f, model.score])
