"""Leaves out the choice of no layer."""

import solution
from solution import *


def shares(model):
    return solution.shares(model)[1:]
