"""Gives frozen parameters gradients and averages."""

import solution
from solution import *


def lora_bytes(num_frozen, num_trained):
    return solution.full_bytes(num_frozen + num_trained)
