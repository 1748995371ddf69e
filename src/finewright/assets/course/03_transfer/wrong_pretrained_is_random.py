"""Builds the network from its config and never reads the weights."""

from solution import *

pretrained = from_scratch
