"""Counts from one: the position behind the last token."""

import torch
from solution import *


def last_token(states, lengths):
    return states[torch.arange(len(states)), lengths.clamp(max=states.shape[1] - 1)]
