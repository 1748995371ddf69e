"""Features of texts that know nothing of their labels: states of a frozen model, and words.

A model that was trained on rows may have memorised their labels, wrong ones too: what it computes cannot question them.

Shape suffixes: N texts, F features, C labels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright.baselines.saving import TOKEN_PATTERN
from finewright.tasks import logistic_regression

if TYPE_CHECKING:
    from finewright.baselines.frozen_features import FrozenEncoder

NUM_WORD_FEATURES = 200
"""Features that the TF-IDF of words and pairs of words is reduced to, so that time and memory are bounded."""
STRENGTH = 0.01
"""scikit-learn's C. Strong regularisation does not fit single wrong labels: with 0.1, 2 to 7 of 100 planted errors fewer are
found."""
NUM_FOLDS = 5


def build_features(texts: Sequence[str], encoder: "FrozenEncoder | None") -> np.ndarray:
    """Return the features of texts, float32 of standard deviation near 1, shape (N, F).

    `encoder`: the frozen model whose states are read, their mean over all tokens; None for words alone. Without a model and
    without a word in any text there is no feature: F is 0.
    """
    parts = [] if encoder is None else [encoder.encode(texts)["mean"]]
    words_NF = _reduce_words(texts)
    parts += [] if words_NF is None else [words_NF]
    scaled = [(part - part.mean(axis=0, dtype=np.float64)) / logistic_regression.compute_scales(part) for part in parts]
    return np.concatenate([np.zeros((len(texts), 0)), *scaled], axis=1).astype(np.float32)


def _reduce_words(texts: Sequence[str]) -> np.ndarray | None:
    """Return the largest directions of the TF-IDF of words and pairs of words, shape (N, F); None if the texts have no words."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer: Any = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN_PATTERN, dtype=np.float32)
    try:
        found = vectorizer.fit_transform(texts)
    except ValueError:  # no word in any text
        return None
    size = min(NUM_WORD_FEATURES, found.shape[0] - 1, found.shape[1] - 1)
    return TruncatedSVD(size, random_state=0).fit_transform(found) if size > 0 else None


def find_out_of_fold_probabilities(features_NF: np.ndarray, targets_N: np.ndarray, *, num_labels: int) -> np.ndarray:
    """Return the probability of every label for each row by a regression that was fitted to other rows, shape (N, C)."""
    return logistic_regression.cross_validate(
        features_NF, targets_N, strength=STRENGTH, num_labels=num_labels, num_folds=NUM_FOLDS
    )
