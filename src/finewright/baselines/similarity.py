"""Training rows whose prompts are nearest to those of other rows, by TF-IDF of words and pairs of words.

Shape suffixes: N rows, T training rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from finewright.baselines.saving import TOKEN_PATTERN
from finewright.data.conversations import Conversation

_AT_ONCE = 256
"""Rows whose similarities to all training rows are in memory at once."""


def prompt_text(row: Conversation) -> str:
    """Return what is compared of a prompt: every message before the last answer but the system's, which rows share."""
    return "\n".join(one.content for one in row.prompt if one.role != "system") or row.text


def find_nearest(train: Sequence[Conversation], rows: Sequence[Conversation], *, number: int) -> np.ndarray:
    """Return the indices of the training rows with the most similar prompts, the most similar first, shape (N, number).

    The similarity is the cosine of TF-IDF vectors, as scikit-learn computes them; of equal ones the earlier row is nearer. Where
    no prompt of the training rows has a word, all are equal.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    number = min(number, len(train))
    vectorizer: Any = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN_PATTERN, dtype=np.float32)
    try:
        known = vectorizer.fit_transform([prompt_text(row) for row in train])
    except ValueError:  # no words
        return np.tile(np.arange(number), (len(rows), 1))
    found = [np.zeros((0, number), dtype=int)]
    asked = vectorizer.transform([prompt_text(row) for row in rows]) if rows else []
    for start in range(0, len(rows), _AT_ONCE):
        cosines_NT = (asked[start : start + _AT_ONCE] @ known.T).toarray()
        found.append(np.argsort(-cosines_NT.round(6), axis=1, kind="stable")[:, :number])
    return np.concatenate(found)
