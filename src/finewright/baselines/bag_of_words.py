"""A logistic or ridge regression on TF-IDF of words and phrases. A saved one scores texts with NumPy alone, in milliseconds.

Of pairs of texts the words of the first and of the second are different terms, and the regression also reads what both share.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.baselines import regression, saving, word_window
from finewright.baselines.base import Baseline, FittedBaseline
from finewright.baselines.pair_features import NUM_SHARED, all_shared_words, find_input_terms, shared_words
from finewright.baselines.regression import Candidate
from finewright.baselines.saving import TOKEN_PATTERN, SavedBagOfWords
from finewright.baselines.vocabulary_model import VocabularyModel
from finewright.baselines.word_window import WordWindowModel
from finewright.core.config import option
from finewright.core.errors import ExitCode, UserError
from finewright.data.tag_schemes import complete_tags
from finewright.data.text_pairs import TextInput, are_pairs, input_of

if TYPE_CHECKING:
    from finewright.baselines.frozen_features import FrozenEncoder
    from finewright.data.dataset import Dataset


class BagOfWordsModel(VocabularyModel[SavedBagOfWords]):
    """A fitted bag of words. `tensors`: `idf` (F,), `coefficients` (K, F) and `intercept` (K,) for F words and phrases.

    The coefficients of one for pairs have `NUM_SHARED` more columns: those of `shared_words`.
    """

    def score(self, texts: Sequence[TextInput]) -> np.ndarray:
        """Return what the task reads, float32, shape (N, C). A text without a known word gets the intercepts."""
        decisions_NK = np.stack([self._decide(text) for text in texts]) if texts else np.zeros((0, self._weights_FK.shape[1]))
        return regression.make_scores(decisions_NK, self.settings)

    def estimate(self, scores_NC: np.ndarray) -> np.ndarray:
        """Return the probabilities of labels, or numbers in standard deviations, shape (N, C)."""
        return regression.estimate(scores_NC, self.settings)

    def _decide(self, text: TextInput) -> np.ndarray:
        """Return the decisions for one text, shape (K,): TF-IDF as scikit-learn computes it, times the coefficients."""
        counts = Counter(
            self._columns[term] for term in find_input_terms(text, max_ngram=self.settings.max_ngram) if term in self._columns
        )
        intercept = self._tensors["intercept"].astype(np.float64)
        if self.settings.pairs and not isinstance(text, str):
            intercept = intercept + shared_words(text) @ self._weights_FK[-NUM_SHARED:]
        if not counts:
            return intercept
        columns = np.array(sorted(counts))
        frequencies = np.array([counts[column] for column in columns.tolist()], dtype=np.float32)
        weights = (np.log(frequencies) + np.float32(1)) * self._tensors["idf"][columns]
        weights = weights / np.sqrt(np.square(weights, dtype=np.float64).sum())
        return (self._weights_FK[columns] * weights[:, None]).sum(axis=0) + intercept


class BagOfWords(Baseline):
    """Logistic or ridge regression on TF-IDF of words and phrases, without a language model."""

    title: ClassVar[str] = "a bag of words"
    reads: ClassVar[str] = "words and pairs of words, no language model"
    reads_of_words: ClassVar[str] = f"{word_window.READS}, no language model"
    summary: ClassVar[str] = f"logistic or ridge regression on {reads}"
    text_options: ClassVar[tuple[str, ...]] = ("max_ngram",)
    run_options: ClassVar[tuple[str, ...]] = ()

    max_ngram: int = option(2, "longest phrase in words: 1 for words alone, 2 for pairs of words too", low=1, high=5)
    C: float | None = option(
        None,
        "scikit-learn's C, the inverse of the regularisation, for numbers 1 / alpha; when not given, chosen on rows that are "
        "held out, and 1 for tags of words",
        low=1e-6,
        high=1e6,
    )

    def fit(self, dataset: "Dataset", *, task: str, encoder: "FrozenEncoder | None" = None) -> FittedBaseline:
        """Fit on the training rows; the vocabulary is theirs. Words with tags are read with those around them."""
        if dataset.row_kind == "tagged-tokens":
            return self._fit_to_words(dataset, task=task)
        from sklearn.feature_extraction.text import TfidfVectorizer

        train, validation = ([input_of(row) for row in rows] for rows in (dataset.train, dataset.validation))
        reads: dict[str, Any] = {"ngram_range": (1, self.max_ngram), "token_pattern": TOKEN_PATTERN}
        if are_pairs(train):
            reads = {"analyzer": _TermFinder(self.max_ngram)}
        vectorizer: Any = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **reads)
        try:
            fitted = _with_shared(vectorizer.fit_transform(train), train)
        except ValueError as error:
            what = f"no words in the training texts: {error}"
            raise UserError(what, fix="this baseline needs letters or digits", code=ExitCode.BAD_DATA) from None
        candidate = Candidate("", fitted, _with_shared(vectorizer.transform(validation), validation) if validation else None)
        best = regression.fit_best([candidate], dataset, C=self.C)
        settings = SavedBagOfWords(
            task=task,
            labels=dataset.labels,
            max_ngram=self.max_ngram,
            pairs=are_pairs(train),
            vocabulary=vectorizer.get_feature_names_out().tolist(),
            **best.settings(),
        )
        model = BagOfWordsModel(settings, {"idf": np.ascontiguousarray(vectorizer.idf_), **best.tensors()})
        return FittedBaseline(
            model,
            best.chosen,
            {} if self.C is not None else {"method.C": best.C},
            best.validation_accuracy,
            lambda texts: best.estimate(_with_shared(vectorizer.transform(texts), texts)),
            reason=regression.describe_reason(dataset),
        )

    def _fit_to_words(self, dataset: "Dataset", *, task: str) -> FittedBaseline:
        return word_window.fit_to_dataset(dataset, labels=complete_tags(dataset.labels), task=task, C=self.C)

    @classmethod
    def load(cls, folder: Path) -> BagOfWordsModel | WordWindowModel:
        """Load a saved bag of words without PyTorch and scikit-learn."""
        if saving.is_of_words(folder):
            return word_window.load(folder)
        settings, tensors = saving.read(folder, SavedBagOfWords, {"idf": 1, "coefficients": 2, "intercept": 1})
        num_terms = len(settings.vocabulary)
        saving.check_columns(folder, tensors, num_terms + (NUM_SHARED if settings.pairs else 0), also=())
        saving.check_columns(folder, {"coefficients": tensors["idf"][None]}, num_terms, also=())
        saving.check_distinct(folder, settings.vocabulary)
        return BagOfWordsModel(settings, tensors)


class _TermFinder:
    """Finds the terms of pairs for scikit-learn."""

    def __init__(self, max_ngram: int) -> None:
        self.max_ngram = max_ngram

    def __call__(self, pair: TextInput) -> list[str]:
        return list(find_input_terms(pair, max_ngram=self.max_ngram))


def _with_shared(features: Any, texts: Sequence[TextInput]) -> Any:
    """Return the features of texts, of pairs with the columns of `shared_words` behind them."""
    if not are_pairs(texts):
        return features
    from scipy import sparse

    return sparse.hstack([features, all_shared_words(texts)], format="csr", dtype=np.float64)
