"""Loads the weights for both: the comparison compares nothing."""

from solution import *

from_scratch = pretrained
