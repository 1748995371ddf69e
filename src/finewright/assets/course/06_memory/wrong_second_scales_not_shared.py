"""The second scale serves 256 first scales, not 256 weights."""

from solution import *


def nf4_bits(block=64, group=256):
    return 4 + 8 / block + 32 / group
