"""Calls the state before any step the first step."""

from solution import *


def steps_to_reach(curve, level):
    return next((step for step, loss in enumerate(curve, start=1) if loss <= level), None)
