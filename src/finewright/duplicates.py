"""Texts that are the same but for case and white space, found among many without holding them twice."""

from collections.abc import Iterable, Sequence

import numpy as np


def normalised(text: str) -> str:
    """What two texts share when they are the same but for case and white space."""
    return " ".join(text.casefold().split())


def also_in(texts: Sequence[str], others: Sequence[str]) -> list[int]:
    """Places of the texts that stand among the others too."""
    mine, theirs = _numbers(texts), _numbers(others)
    known = {normalised(others[place]) for place in np.flatnonzero(np.isin(theirs, mine)).tolist()}
    return [place for place in np.flatnonzero(np.isin(mine, theirs)).tolist() if normalised(texts[place]) in known]


def perhaps_again(texts: Sequence[Iterable[str]]) -> list[list[int]]:
    """Places, list by list, of all texts that occur once more in any of the lists, and at most a few others."""
    numbers = [_numbers(some) for some in texts]
    different, counts = np.unique(np.concatenate(numbers), return_counts=True)
    return [np.flatnonzero(np.isin(own, different[counts > 1])).tolist() for own in numbers]


def _numbers(texts: Iterable[str]) -> np.ndarray:
    """64 bits for each text, the same for texts that are the same; where two are equal the texts are still to be compared."""
    return np.fromiter((hash(normalised(text)) for text in texts), dtype=np.int64)
