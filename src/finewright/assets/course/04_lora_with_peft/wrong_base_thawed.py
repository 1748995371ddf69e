"""Trains every parameter there is, frozen or not."""

import solution
from solution import *


def train(model, batches, lr):
    model.requires_grad_(True)
    return solution.train(model, batches, lr)
