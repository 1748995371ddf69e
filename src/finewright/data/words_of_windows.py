"""The words of a text that are read together, and which scores are theirs: in a window of tokens, or in the whole text."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from finewright.data.tagged_tokens import TaggedText

NO_TAG = -100
"""The tag of a token or a word that has none to learn."""


@dataclass(frozen=True)
class WordsOfWindow:
    """The words that a window is read for. `row`: of the text. `first`: the first of them, counted in the text.

    `reads`: of each word, which of the scores of the window is its own, counted from 0; -1 for a word without a token.
    `shares`: whether the word has the token of the word before it. `tags`: the class of each word, -100 if it has none.
    """

    row: int
    first: int
    reads: np.ndarray
    shares: np.ndarray
    tags: np.ndarray


def read_whole(text: TaggedText, row: int, *, class_of: Callable[[str], int]) -> WordsOfWindow:
    """Return the words of a text for a model that scores each of them, whatever its tokens. `row`: of the text."""
    num_words = len(text.words)
    tags = np.array([class_of(tag) for tag in text.tags] or [NO_TAG] * num_words, dtype=np.int64)
    return WordsOfWindow(row, 0, np.arange(num_words), np.zeros(num_words, dtype=bool), tags)
