"""Leaves the scale out."""

import solution
from solution import *


class LowRank(solution.LowRank):
    def __init__(self, layer, rank, alpha):
        super().__init__(layer, rank, alpha)
        self.scale = 1.0
