"""Adds the update to the frozen layer itself: from now on it counts twice."""

import torch
from solution import *


def merge(update):
    with torch.no_grad():
        update.layer.weight += update.scale * update.up @ update.down
    return update.layer
