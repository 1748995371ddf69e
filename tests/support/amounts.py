"""Rows with numbers that even a tiny network can learn."""

import random
from pathlib import Path

from support import tiny

MEAN, STEP = 40.0, 10.0
"""Numbers like ratings, whose mean is some standard deviations from 0."""


def write_rows(path: Path, *, count: int = 120, seed: int = 0, mean: float = MEAN) -> Path:
    """Write rows whose number grows with the number of words of the text."""
    draw, words = random.Random(seed), tiny.WORDS.split()
    lines = ["text,year"]
    for number in range(count):
        size = 2 + number % 6
        lines.append(f"{' '.join(draw.sample(words, size))} {number},{mean + STEP * size + draw.random():.2f}")
    path.write_text("\n".join(lines) + "\n")
    return path
