"""Names the worse one first."""

import solution
from solution import *


def better(right, level=0.05):
    return [(b, a) for a, b in solution.better(right, level)]
