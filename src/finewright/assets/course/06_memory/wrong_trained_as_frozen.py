"""Counts the trained parameters as if they were frozen."""

from solution import *


def lora_bytes(num_frozen, num_trained):
    return 2 * (num_frozen + num_trained)
