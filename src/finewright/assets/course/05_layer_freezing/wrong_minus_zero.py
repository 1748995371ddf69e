"""layers[-0:] is every layer."""

import solution
from solution import *


def train_top(model, num_layers):
    layers = model.transformer.h
    solution._only(model, [*layers[-num_layers:], model.transformer.ln_f, model.score])
