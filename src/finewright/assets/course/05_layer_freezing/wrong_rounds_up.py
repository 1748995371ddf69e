"""The smallest choice that is not below what was wanted."""

from solution import *


def nearest(choices, wanted):
    return next(place for place, share in enumerate(choices) if share >= wanted)
