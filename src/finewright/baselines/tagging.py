"""Baselines for tags of words: the tag that a word mostly has, and a logistic regression on the word and its neighbours.

They train no weight of a model and take seconds. What they get right needs no language model.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from finewright.baselines import word_window
from finewright.data.tag_schemes import OUTSIDE, complete_tags
from finewright.data.tagged_tokens import TaggedText

WORD_TAGS, WINDOW = "word-tags", "window-features"
SUMMARIES = {
    WORD_TAGS: "the most frequent tag of each word",
    WINDOW: f"a logistic regression on {word_window.READS}",
}
_TASK = "token-classification"

Tagger = Callable[[Sequence[TaggedText]], list[list[str]]]
"""Returns the tags of the words of texts."""


def fit_tagger(name: str, rows: Sequence[TaggedText]) -> tuple[Tagger, int, str]:
    """Fit a baseline to tagged texts. Return it, the number of values that were fitted, and what was chosen, in words."""
    return _fit_word_tags(rows) if name == WORD_TAGS else _fit_window(rows)


def _fit_word_tags(rows: Sequence[TaggedText]) -> tuple[Tagger, int, str]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for word, tag in zip(row.tokens, row.tags, strict=True):
            counts[word.casefold()][tag] += 1
    every = Counter(tag for row in rows for tag in row.tags)
    usual = OUTSIDE if OUTSIDE in every else every.most_common(1)[0][0]
    known = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}

    def tag(texts: Sequence[TaggedText]) -> list[list[str]]:
        return [[known.get(word.casefold(), usual) for word in text.tokens] for text in texts]

    return tag, len(known), f"{len(known):,} words; others {usual}"


def _fit_window(rows: Sequence[TaggedText]) -> tuple[Tagger, int, str]:
    labels = complete_tags(sorted({tag for row in rows for tag in row.tags}))
    fitted = word_window.fit(rows, labels=labels, task=_TASK)
    assert isinstance(fitted.model, word_window.WordWindowModel)
    return fitted.model.tag, fitted.model.num_parameters, fitted.chosen
