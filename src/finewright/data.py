"""Files and hub data sets → rows; the text and label columns; splits."""

import random
from collections.abc import Sequence


def stratified_split(labels: Sequence[str], fraction: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers (kept, held out); each label gives `fraction` of its rows, rounded, and keeps at least one.

    Both lists are in ascending order. A pure function of its arguments.
    """
    by_label: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        by_label.setdefault(label, []).append(index)
    held: set[int] = set()
    for label, indices in by_label.items():
        shuffled = indices[:]
        random.Random(f"{seed}:{label}").shuffle(shuffled)
        held.update(shuffled[: min(round(len(indices) * fraction), len(indices) - 1)])
    return [index for index in range(len(labels)) if index not in held], sorted(held)
