"""Three separate LoRAs where two were asked for."""

from solution import *


def count_by_hand(width, rank, num_blocks):
    return num_blocks * rank * 4 * width, num_blocks * 3 * rank * 2 * width
