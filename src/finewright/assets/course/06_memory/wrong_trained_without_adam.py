"""Trained parameters need gradients and Adam's averages."""

import solution
from solution import *


def qlora_bytes(num_quantised, num_plain, num_trained):
    return num_quantised * solution.nf4_bits() / 8 + 2 * num_plain + 2 * num_trained
