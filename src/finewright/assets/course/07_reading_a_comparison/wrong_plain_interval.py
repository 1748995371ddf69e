"""Share plus and minus 1.96 standard errors: of no width when all are right."""

import math

from solution import *


def interval(num_right, num_rows):
    share = num_right / num_rows
    half = 1.959964 * math.sqrt(share * (1 - share) / num_rows)
    return share - half, share + half
