"""Takes the first token, which has seen nothing but itself."""

from solution import *


def last_token(states, lengths):
    return states[:, 0]
