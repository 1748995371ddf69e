"""Quantises the embeddings and norms too, which QLoRA leaves alone."""

import solution
from solution import *


def qlora_bytes(num_quantised, num_plain, num_trained):
    return (num_quantised + num_plain) * solution.nf4_bits() / 8 + solution.full_bytes(num_trained)
