"""Looks the values up and forgets the scales."""

import solution
from solution import *


def restore(codes, scales, block):
    return solution.NF4[codes]
