"""The mean over all positions, padding included."""

from solution import *


def last_token(states, lengths):
    return states.mean(1)
