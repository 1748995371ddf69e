"""Takes bits for bytes."""

import solution
from solution import *


def qlora_bytes(num_quantised, num_plain, num_trained):
    return num_quantised * solution.nf4_bits() + 2 * num_plain + solution.full_bytes(num_trained)
