"""Counts query and forgets value."""

from solution import *


def count_by_hand(width, rank, num_blocks):
    return num_blocks * rank * 4 * width, num_blocks * rank * 2 * width
