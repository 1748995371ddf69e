"""The scales' own scales take room too."""

from solution import *


def nf4_bits(block=64, group=256):
    return 4 + 8 / block
