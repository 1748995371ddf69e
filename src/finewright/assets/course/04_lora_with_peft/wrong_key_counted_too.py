"""Three separate LoRAs where two were asked for."""

from solution import *


def count_by_hand(width, rank, num_layers):
    return num_layers * rank * 4 * width, num_layers * 3 * rank * 2 * width
