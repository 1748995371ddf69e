"""Baselines for tags of words: the tag that a word mostly has, and a logistic regression on the word and its neighbours.

They train no weight of a model and take seconds. What they get right needs no language model.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from finewright.data.tag_schemes import OUTSIDE
from finewright.data.tagged_tokens import TaggedText

WORD_TAGS, WINDOW = "word-tags", "window-features"
SUMMARIES = {
    WORD_TAGS: "the most frequent tag of each word",
    WINDOW: "a logistic regression on each word, its shape, beginning and end, and two words on each side",
}
MOST_WORDS = 30_000
"""Training words that the regression is fitted to; with more it takes minutes."""
_AROUND = 2
_LONGEST_AFFIX = 3

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
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    used = _choose_rows(rows)
    features = [one for row in used for one in word_features(row.tokens)]
    tags = [tag for row in used for tag in row.tags]
    fitted = make_pipeline(DictVectorizer(), LogisticRegression(C=1.0, max_iter=300)).fit(features, tags)

    def tag(texts: Sequence[TaggedText]) -> list[list[str]]:
        return [list(map(str, fitted.predict(word_features(text.tokens)))) if text.words else [] for text in texts]

    num_values = int(fitted[-1].coef_.size + fitted[-1].intercept_.size)
    return tag, num_values, f"C = 1, {len(features):,} words of {len(used):,} texts"


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
        for length in range(1, _LONGEST_AFFIX + 1):
            values |= {f"starts={own[:length]}", f"ends={own[-length:]}"}
        for away in range(-_AROUND, _AROUND + 1):
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
