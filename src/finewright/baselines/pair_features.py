"""Features of pairs of texts for regressions: whose word each is, and how much the two texts share.

Shape suffixes: N pairs, H hidden size.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from finewright.baselines.saving import TOKEN_PATTERN
from finewright.data.text_pairs import TextInput, TextPair

NUM_SHARED = 4
"""How many numbers `shared_words` returns of a pair."""
_WORDS = re.compile(TOKEN_PATTERN)


def find_terms(text: str, *, max_ngram: int) -> Iterator[str]:
    """Yield the words of a text in lower case, and its phrases of up to `max_ngram` words."""
    words = _WORDS.findall(text.lower())
    for size in range(1, max_ngram + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def find_input_terms(given: TextInput, *, max_ngram: int) -> Iterator[str]:
    """Yield the terms of a text, or of a pair: those of the first text behind `1:`, those of the second behind `2:`."""
    if isinstance(given, str):
        yield from find_terms(given, max_ngram=max_ngram)
        return
    for number, text in enumerate(given, start=1):
        yield from (f"{number}:{term}" for term in find_terms(text, max_ngram=max_ngram))


def shared_words(pair: TextPair) -> np.ndarray:
    """Return how much the texts of a pair share, float64, shape (4,).

    The share of the second text's different words that the first one has, the reverse, the share of all different words that
    both have, and the shorter one's number of words by the longer one's.
    """
    first, second = (_WORDS.findall(text.lower()) for text in pair)
    one, other = set(first), set(second)
    both = len(one & other)
    shorter, longer = sorted((len(first), len(second)))
    shares = [both / max(1, len(other)), both / max(1, len(one)), both / max(1, len(one | other)), shorter / max(1, longer)]
    return np.array(shares)


def all_shared_words(pairs: Sequence[TextInput]) -> np.ndarray:
    """Return `shared_words` of every pair, shape (N, 4)."""
    found = [shared_words(pair) for pair in pairs if not isinstance(pair, str)]
    return np.stack(found) if found else np.zeros((0, NUM_SHARED))


def compare_vectors(first_NH: np.ndarray, second_NH: np.ndarray) -> np.ndarray:
    """Return |u - v| and u · v of the vectors of both texts, each by its length, float32, shape (N, 2H)."""
    u, v = (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12) for vectors in (first_NH, second_NH))
    return np.concatenate([np.abs(u - v), u * v], axis=1).astype(np.float32)
