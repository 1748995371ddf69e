"""The largest choice that is not above what was wanted."""

from solution import *


def nearest(choices, wanted):
    return max(place for place, share in enumerate(choices) if share <= wanted)
