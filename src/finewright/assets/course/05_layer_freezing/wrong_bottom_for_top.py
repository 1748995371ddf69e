"""Takes the first layers: GPT-2 counts from the bottom."""

import solution
from solution import *


def train_top(model, num_layers):
    layers = model.transformer.h
    solution._only(model, [*layers[:num_layers], model.transformer.ln_f, model.score])
