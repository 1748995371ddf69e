"""Gives back the layer as it was before training."""

from solution import *


def merge(update):
    return update.layer
