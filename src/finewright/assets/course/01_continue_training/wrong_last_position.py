"""Takes the last position, which in a shorter text is padding."""

from solution import *


def last_token(states, lengths):
    return states[:, -1]
