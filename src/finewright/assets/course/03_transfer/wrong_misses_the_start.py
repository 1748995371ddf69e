"""Looks only after steps: the curve does not say where it began."""

import solution
from solution import *


def learning_curve(model, batches, validation, lr):
    return solution.learning_curve(model, batches, validation, lr)[1:]
