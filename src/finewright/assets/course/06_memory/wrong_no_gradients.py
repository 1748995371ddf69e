"""Weights and Adam's averages, but no gradients."""

from solution import *


def full_bytes(num_parameters):
    return 12 * num_parameters
