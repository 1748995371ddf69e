"""One scale of 32 bits a block: without the second quantisation."""

from solution import *


def nf4_bits(block=64, group=256):
    return 4 + 32 / block
