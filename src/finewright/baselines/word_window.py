"""A logistic regression that tags each word by itself, its shape, its beginning and end, and the words around it.

A saved one tags texts with NumPy alone.

Shape suffixes: N texts, W words, C tags, K rows of coefficients, F features.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.baselines import regression, saving
from finewright.baselines.base import FittedBaseline
from finewright.baselines.saving import WORDS_AROUND, SavedWordWindow
from finewright.baselines.vocabulary_model import VocabularyModel
from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data.tagged_tokens import TaggedText, TextWithWords, as_tagged_text
from finewright.tasks import logistic_regression
from finewright.tasks.calibration import compute_probabilities

if TYPE_CHECKING:
    from finewright.data.dataset import Dataset

READS = "each word, its shape, beginning and end, and two words on each side"
MOST_WORDS = 30_000
"""Training words that the regression is fitted to; with more it takes minutes."""
USUAL_C = 1.0
"""scikit-learn's C. On the test rows of `entities` it gives an entity F1 of 59%; others from 0.3 to 100 gave 52 to 60%."""
TEXTS_AT_ONCE = 256
"""The scores of so many texts are one array, as wide as the longest of them."""


class WordWindowModel(VocabularyModel[SavedWordWindow]):
    """A fitted regression on words. `tensors`: `coefficients` (K, F) and `intercept` (K,) for F features."""

    texts_at_once: ClassVar[int] = TEXTS_AT_ONCE

    def read_input(self, value: Any) -> str:
        """Return a text, with its words if JSON has them."""
        return (
            TextWithWords(value["text"], [(start, end) for start, end in value["words"]]) if isinstance(value, Mapping) else value
        )

    def score(self, texts: Sequence[Any]) -> np.ndarray:
        """Return log probabilities of the tags of the words up to a constant, float32, shape (N, W of the longest, C).

        Words that a text does not have get 0 for all tags.
        """
        scores = [self._score_words(as_tagged_text(text).tokens) for text in texts]
        return _stack(scores, fill=0.0, num_tags=len(self.labels)).astype(np.float32)

    def _score_words(self, words: Sequence[str]) -> np.ndarray:
        decisions_WK = np.zeros((len(words), self._weights_FK.shape[1]))
        for place, features in enumerate(word_features(words)):
            columns = [self._columns[name] for name in features if name in self._columns]
            decisions_WK[place] = self._weights_FK[columns].sum(axis=0) + self._tensors["intercept"]
        return regression.make_scores(decisions_WK, self.settings)

    def estimate(self, scores_NC: np.ndarray) -> np.ndarray:
        """Return the probability of every tag of every word, shape (N, W, C); words that a text does not have get equal ones."""
        return compute_probabilities(scores_NC.reshape(-1, len(self.labels))).reshape(scores_NC.shape)

    def tag(self, texts: Sequence[TaggedText]) -> list[list[str]]:
        """Return the tags of the words of texts."""
        return [[self.labels[best] for best in self._score_words(text.tokens).argmax(axis=1)] for text in texts]


def load(folder: Path) -> WordWindowModel:
    """Load a saved regression on words without PyTorch and scikit-learn. Raise `UserError` if it is damaged."""
    settings, tensors = saving.read(folder, SavedWordWindow, {"coefficients": 2, "intercept": 1})
    saving.check_columns(folder, tensors, len(settings.vocabulary), also=())
    saving.check_distinct(folder, settings.vocabulary)
    return WordWindowModel(settings, tensors)


def fit(rows: Sequence[TaggedText], *, labels: Sequence[str], task: str, C: float | None = None) -> FittedBaseline:
    """Fit to tagged texts. `labels`: all tags, also those that no row has. Raise `UserError` if every word has one tag."""
    from sklearn.feature_extraction import DictVectorizer

    used, known = _choose_rows(rows), {label: index for index, label in enumerate(labels)}
    strength = USUAL_C if C is None else C
    targets = np.array([known[tag] for row in used for tag in row.tags], dtype=int)
    if len(set(targets.tolist())) < 2:
        what = f"every training word has the tag {used[0].tags[0]!r}: there is nothing to distinguish"
        raise UserError(what, fix="add words with other tags", code=ExitCode.BAD_DATA)
    vectorizer: Any = DictVectorizer()
    features = vectorizer.fit_transform([one for row in used for one in word_features(row.tokens)])
    classifier = logistic_regression.fit(features, targets, strength=strength)
    settings = SavedWordWindow(
        task=task,
        labels=tuple(labels),
        classes=tuple(int(index) for index in classifier.classes_),
        C=strength,
        vocabulary=vectorizer.get_feature_names_out().tolist(),
    )
    tensors = {name: np.ascontiguousarray(getattr(classifier, f"{name}_")) for name in ("coef", "intercept")}
    model = WordWindowModel(settings, {"coefficients": tensors["coef"], "intercept": tensors["intercept"]})

    def estimate(texts: Sequence[Any]) -> np.ndarray:
        read = [word_features(as_tagged_text(text).tokens) for text in texts]
        empty = np.zeros((0, len(labels)))
        shares = [
            logistic_regression.predict(classifier, vectorizer.transform(one), num_labels=len(labels)) if one else empty
            for one in read
        ]
        return _stack(shares, fill=1 / len(labels), num_tags=len(labels))

    num_words, num_all = len(targets), sum(len(row.words) for row in rows)
    left_out = f"fitted to {num_words:,} of {counted(num_all, 'training word')}: with more it takes minutes"
    chosen = f"C = {strength:g}, {num_words:,} words of {len(used):,} texts"
    return FittedBaseline(model, chosen, {}, None, estimate, notes=(left_out,) if num_words < num_all else ())


def fit_to_dataset(dataset: "Dataset", *, labels: Sequence[str], task: str, C: float | None) -> FittedBaseline:
    """Fit to the training rows of a data set."""
    return fit([row for row in dataset.train if isinstance(row, TaggedText)], labels=labels, task=task, C=C)


def _choose_rows(rows: Sequence[TaggedText]) -> list[TaggedText]:
    """Return all rows, or so many that they have at most `MOST_WORDS` words, spread evenly."""
    total = sum(len(row.words) for row in rows)
    step = max(1, -(-total // MOST_WORDS))
    return [*rows[::step]]


def word_features(words: Sequence[str]) -> list[dict[str, float]]:
    """Return what the regression knows of each word of a text."""
    found = []
    for place, word in enumerate(words):
        own = word.casefold()
        values = {"word=" + own, "shape=" + _shape(word)}
        for length in range(1, saving.LONGEST_AFFIX + 1):
            values |= {f"starts={own[:length]}", f"ends={own[-length:]}"}
        for away in range(-WORDS_AROUND, WORDS_AROUND + 1):
            if away:
                inside = 0 <= place + away < len(words)
                other = words[place + away] if inside else ""
                values |= {f"{away}:word={other.casefold()}", f"{away}:shape={_shape(other)}"}
        found.append(dict.fromkeys(sorted(values), 1.0))
    return found


def _shape(word: str) -> str:
    """Return the kinds of the characters of a word, each run as one: `Xx` for `Anna`, `d.d` for `3.50`."""
    kinds = ["X" if one.isupper() else "x" if one.islower() else "d" if one.isdigit() else one for one in word[:20]]
    return "".join(kind for place, kind in enumerate(kinds) if not place or kinds[place - 1] != kind) + f"{min(len(word), 4)}"


def _stack(parts: Sequence[np.ndarray], *, fill: float, num_tags: int) -> np.ndarray:
    """Return arrays of shape (words of a text, C) as one, shape (N, W of the longest, C), with `fill` where words are missing."""
    found_NWC = np.full((len(parts), max(map(len, parts), default=0), num_tags), fill)
    for row, part in zip(found_NWC, parts, strict=True):
        row[: len(part)] = part
    return found_NWC
