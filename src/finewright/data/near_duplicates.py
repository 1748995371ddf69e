"""Texts that are nearly the same, by the sequences of characters that they share.

Shape suffixes: N texts.
"""

import heapq
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from finewright.data.splits import normalise_text

SIMILAR = 0.75
"""Cosine from which on two texts are nearly the same. Measured by `benchmarks/suspects.py duplicates`: nearly all texts with two
letters exchanged or a word left out reach it, and few pairs of different questions do (docs/guides/find-wrong-labels.md)."""
NGRAM = 4
"""Characters of a sequence, across the borders of words, so that their order counts."""
MOST_PAIRS = 1000
"""Pairs that are returned at most, the most similar: rows that follow one template are all alike."""
_CELLS_AT_ONCE = 2_500_000
"""Similarities that are computed together, so that memory does not grow with the square of the number of texts."""


class SimilarPair(NamedTuple):
    """Two texts by their numbers, the lower one first. `similarity`: cosine, 0 to 1."""

    first: int
    second: int
    similarity: float


def find_similar_pairs(texts: Sequence[str], groups: Sequence[Any], *, least: float = SIMILAR) -> list[SimilarPair]:
    """Return the pairs of texts of different `groups`, such as labels, that are nearly the same, the most similar first.

    Case and white space do not count. `least`: lowest cosine of the TF-IDF of character sequences.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer: Any = TfidfVectorizer(analyzer="char", ngram_range=(NGRAM, NGRAM), lowercase=False, dtype=np.float32)
    try:
        rows = vectorizer.fit_transform([f" {normalise_text(text)} " for text in texts])
    except ValueError:  # every text is shorter than a sequence
        return []
    _, group_N = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    columns, found = rows.T.tocsr(), list[tuple[float, int, int]]()
    step = max(1, _CELLS_AT_ONCE // len(texts))
    for start in range(0, len(texts), step):
        block = (rows[start : start + step] @ columns).tocoo()
        near = block.data >= least
        first, second, cosine = block.row[near] + start, block.col[near], block.data[near]
        other = (first < second) & (group_N[first] != group_N[second])
        pairs = zip(cosine[other].tolist(), (-first[other]).tolist(), (-second[other]).tolist(), strict=True)
        found = heapq.nlargest(MOST_PAIRS, [*found, *pairs])
    return [SimilarPair(-first, -second, min(1.0, cosine)) for cosine, first, second in found]
