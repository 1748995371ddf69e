"""Counts query and forgets value."""

from solution import *


def count_by_hand(width, rank, num_layers):
    return num_layers * rank * 4 * width, num_layers * rank * 2 * width
