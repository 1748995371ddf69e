"""Starts one layer early."""

import solution
from solution import *


def train_top(model, num_layers):
    layers = model.transformer.h
    solution._only(model, [*layers[len(layers) - num_layers - 1 :], model.transformer.ln_f, model.score])
