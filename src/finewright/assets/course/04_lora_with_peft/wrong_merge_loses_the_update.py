"""Takes LoRA away instead of adding it to the weights."""

from solution import *


def merge(model):
    return model.unload()
