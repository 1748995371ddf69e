"""Both matrices start at random: the model is changed before it has learned anything."""

import solution
import torch
from solution import *


class LowRank(solution.LowRank):
    def __init__(self, layer, rank, alpha):
        super().__init__(layer, rank, alpha)
        torch.nn.init.normal_(self.up)
