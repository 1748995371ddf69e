"""Counts one block."""

import solution
from solution import *


def count_by_hand(width, rank, num_blocks):
    return solution.count_by_hand(width, rank, 1)
