"""Both matrices start at zero: each one's gradient is a product with the other, so neither ever moves."""

import solution
import torch
from solution import *


class LowRank(solution.LowRank):
    def __init__(self, layer, rank, alpha):
        super().__init__(layer, rank, alpha)
        torch.nn.init.zeros_(self.down)
