"""An estimator of tags of words: entities, parts of speech, spans."""

from collections.abc import Sequence
from typing import Any

from sklearn.utils.validation import check_is_fitted

from finewright.data.labelled_rows import is_blank
from finewright.data.tagged_tokens import Span, TextWithWords, fit_spans, join_tokens
from finewright.sklearn.base import TextEstimator, raising_value_errors
from finewright.tasks import entity_metrics


class TokenClassifier(TextEstimator):
    """Fine-tune a pre-trained model to tag words. A sample is a list of words, its target a list of as many tags.

    The parameters are those of `TextClassifier`.

    Attributes
    ----------
    classes_ : list of str
        The tags, those of entities in IOB2.
    run_ : Run
        The finished run.

    Examples
    --------
    >>> tagger = TokenClassifier(model="mini").fit([["Anna", "left"]], [["B-PER", "O"]])  # doctest: +SKIP
    """

    def fit(self, X: Sequence[Sequence[str]], y: Sequence[Sequence[str]]) -> "TokenClassifier":
        """Train on lists of words and of tags, in any of the usual schemes.

        All rows but a validation share are trained on; none is held out as a test. `ValueError` if they differ in number.
        """
        words, tags = _samples(X), [[str(tag) for tag in one] for one in y]
        if len(words) != len(tags):
            raise ValueError(f"{len(words):,} lists of words, but {len(tags):,} lists of tags")
        for place, (one, other) in enumerate(zip(words, tags, strict=True)):
            if len(one) != len(other):
                raise ValueError(f"sample {place}: {len(one):,} words, but {len(other):,} tags")
        rows = [{"tokens": one, "tags": other} for one, other in zip(words, tags, strict=True)]
        self._train(rows, options={"task": "token-classification"})
        self.classes_ = list(self.run_.config.labels)
        return self

    @raising_value_errors()
    def predict(self, X: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return the tags of the words of every sample, those of entities in IOB2."""
        check_is_fitted(self)
        samples = _samples(X)
        found: list[list[str]] = []
        for words, predicted in zip(samples, self.run_.predict([_as_text(one) for one in samples]), strict=True):
            one: dict[str, Any] = dict(predicted)
            if "tags" in one:
                found.append(list(one["tags"]))
                continue
            spans = [Span(entity["start"], entity["end"], entity["label"]) for entity in one["entities"]]
            found.append(fit_spans(join_tokens(words)[1], spans).tags)
        return found

    def score(self, X: Sequence[Sequence[str]], y: Sequence[Sequence[str]]) -> float:
        """Return the F1 of entities, or the share of right tags where they are no parts of entities."""
        from finewright.data.tag_schemes import convert_to_iob2

        tags = convert_to_iob2([[str(tag) for tag in one] for one in y]).sentences
        measured = entity_metrics.measure_tags(tags, self.predict(X), labels=self.classes_)
        return float(measured.get("entity_f1", measured["token_accuracy"]))


def _samples(X: Any) -> list[list[str]]:
    """Return the words of every sample. Raise `ValueError` for what are none, and for a sample without words or an empty one."""
    found = []
    for place, sample in enumerate(X):
        if isinstance(sample, str) or not all(isinstance(word, str) for word in sample):
            raise ValueError(f"wanted a list of words, found {sample!r:.60}")
        words = list(sample)
        if not words or any(is_blank(word) for word in words):
            raise ValueError(f"sample {place}, counted from 0, has {'an empty word' if words else 'no words'}: leave it out")
        found.append(words)
    return found


def _as_text(words: Sequence[str]) -> str:
    """Return the words as a text that knows them."""
    text, bounds = join_tokens(words)
    return TextWithWords(text, bounds)
