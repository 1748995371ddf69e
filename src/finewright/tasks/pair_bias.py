"""Whether the labels of pairs of texts can be told from one of the two texts alone.

Such data teaches a model to ignore the other text, as the hypotheses of SNLI and MultiNLI do (Gururangan et al. 2018,
arXiv:1803.02324).
"""

from collections.abc import Iterator

import numpy as np

from finewright.data.checks import Finding
from finewright.data.dataset import Dataset
from finewright.tasks import logistic_regression

LEAST_ROWS, MOST_ROWS = 60, 1500
"""Training rows from which on this is measured, and those that are looked at."""
LEAST_GAIN, STANDARD_ERRORS = 0.15, 3.0
"""How much more than the most frequent label must be right: this share, and so many standard errors."""
_STRENGTH = 10.0


def find_one_text_bias(dataset: Dataset) -> Iterator[Finding]:
    """Find out whether a bag of words of one text of the training pairs tells the labels of left-out rows."""
    rows = dataset.train[:: max(1, len(dataset.train) // MOST_ROWS)]
    pairs = [row.pair for row in rows if row.pair is not None]
    if len(pairs) != len(rows) or len(rows) < LEAST_ROWS or len({row.label for row in rows}) < 2:
        return
    names = {label: number for number, label in enumerate(dataset.labels)}
    targets_N = np.array([names[row.label] for row in rows])
    share = float(np.bincount(targets_N).max() / len(targets_N))
    needed = share + max(LEAST_GAIN, STANDARD_ERRORS * (share * (1 - share) / len(targets_N)) ** 0.5)
    columns = dataset.columns.texts if len(dataset.columns.texts) == 2 else ("first text", "second text")
    for place in (1, 0):
        accuracy = _measure_one([pair[place] for pair in pairs], targets_N, num_labels=len(dataset.labels))
        if accuracy >= needed:
            message = (
                f"a bag of words of {columns[place]!r} alone gets {accuracy:.0%} of the labels right (always the most frequent "
            )
            message += f"one: {share:.0%}): a model may learn to ignore {columns[1 - place]!r}"
            fix = f"use the same texts in {columns[place]!r} with different labels, and test on pairs where both texts count"
            yield Finding("one_text_tells", "warning", message, (), fix)


def _measure_one(texts: list[str], targets_N: np.ndarray, *, num_labels: int) -> float:
    """Return the accuracy of a regression on the words of these texts on rows that are left out."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        features = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    except ValueError:  # no word in any of them
        return 0.0
    found = logistic_regression.cross_validate(features, targets_N, strength=_STRENGTH, num_labels=num_labels)
    return float((found.argmax(axis=1) == targets_N).mean())
