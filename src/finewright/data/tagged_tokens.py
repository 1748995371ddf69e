"""Rows of token classification: a text, its words, and the tag of each."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from finewright.data import tag_schemes
from finewright.data.splits import Example

Bounds = tuple[int, int]
"""Where a piece of a text begins and ends, in characters."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED += "\U00020000-\U0003ffff"
"""Scripts that put no space between words (Thai, Lao, Burmese, Khmer, kana, Han): each character counts as a word."""


class Span(NamedTuple):
    """A labelled piece of a text, in characters."""

    start: int
    end: int
    label: str


class TextWithWords(str):
    """A text that is divided into words already. `words`: where each is."""

    words: tuple[Bounds, ...]

    def __new__(cls, text: str, words: Iterable[Bounds]) -> "TextWithWords":
        """Make the text."""
        made = super().__new__(cls, text)
        made.words = tuple(words)
        return made


@dataclass(frozen=True, slots=True)
class TaggedText(Example):
    """A text with its words and their tags.

    `label`: what a person sees of the tags: the labelled pieces, or the tags in order. `words`: where each word is, in order and
    without overlaps. `tags`: one for each word, entities in IOB2; empty for a text to predict.
    """

    words: tuple[Bounds, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The words."""
        return tuple(self.text[start:end] for start, end in self.words)

    @property
    def stratum(self) -> str:
        """Whether the text has an entity, so that every split has such texts."""
        return "some" if any(tag != tag_schemes.OUTSIDE for tag in self.tags) else "none"

    def spans(self) -> list[Span]:
        """Return the entities of the tags."""
        return find_spans(self.words, self.tags)

    def own_labels(self) -> tuple[str, ...]:
        """Return the tags."""
        return tuple(dict.fromkeys(self.tags))

    def contents(self) -> str:
        """Return all that a model learns from the row, for the fingerprint of a run."""
        return self.as_json()

    def fingerprint_text(self, split: str) -> str:
        """Return all that the row adds to the fingerprint of its data set."""
        return f"{split}\0{self.as_json()}\n"

    def as_json(self) -> str:
        """Return the row as JSON, without its place."""
        values = {"text": self.text, "words": self.words, "tags": self.tags}
        return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def as_tagged_text(given: Any) -> TaggedText:
    """Return a text to predict: with its own words, as JSON has them too, or divided into words."""
    if isinstance(given, TaggedText):
        return given
    if isinstance(given, Mapping):
        return TaggedText(given["text"], "", "", words=tuple((start, end) for start, end in given["words"]))
    words = given.words if isinstance(given, TextWithWords) else split_words(given)
    return TaggedText(str(given), "", "", words=tuple(words))


def make_tagged_text(text: str, words: Iterable[Bounds], tags: Iterable[str], *, where: str) -> TaggedText:
    """Return a row with what a person sees of its tags."""
    words, tags = tuple(words), tuple(tags)
    spans = find_spans(words, tags)
    label = describe_spans(text, spans) if spans or tag_schemes.OUTSIDE in tags else " ".join(tags)
    return TaggedText(text, label, where, words=words, tags=tags)


def describe_spans(text: str, spans: Sequence[Span]) -> str:
    """Return labelled pieces as a person reads them."""
    return "; ".join(f"{span.label}: {text[span.start : span.end]}" for span in spans)


def find_spans(words: Sequence[Bounds], tags: Sequence[str]) -> list[Span]:
    """Return the entities of tags as pieces of the text."""
    return [Span(words[one.first][0], words[one.last][1], one.label) for one in tag_schemes.find_entities(tags)]


@cache
def _word_pattern() -> re.Pattern[str]:
    """Words: letters with their marks, digits, and every other character by itself.

    Marks are part of a word, though `\\w` leaves most of them out: those of Hindi are vowels.
    """
    marks = [number for number in range(0x300, 0x10000) if unicodedata.category(chr(number)).startswith("M")]
    mark = "".join(f"\\u{number:04x}" for number in marks)
    letter = rf"[^\W\d_{_UNSPACED}]"
    return re.compile(rf"{letter}(?:{letter}|[{mark}])*|\d+|\S")


def split_words(text: str) -> list[Bounds]:
    """Return where the words of a text are: runs of letters, runs of digits, and every other character that shows."""
    return [match.span() for match in _word_pattern().finditer(text)]


def locate_tokens(text: str, tokens: Sequence[str]) -> list[Bounds] | None:
    """Return where the tokens are in a text that has them in order; None if one is not found."""
    found: list[Bounds] = []
    place = 0
    for token in tokens:
        start = text.find(token, place)
        if start < 0 or not token:
            return None
        place = start + len(token)
        found.append((start, place))
    return found


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[Bounds]]:
    """Return the tokens with one space between, and where each is."""
    words, place = [], 0
    for token in tokens:
        words.append((place, place + len(token)))
        place += len(token) + 1
    return " ".join(tokens), words


class FittedSpans(NamedTuple):
    """Spans as tags of words, in IOB2. `widened`: spans that began or ended inside a word, as they were."""

    tags: list[str]
    widened: list[Span]


def fit_spans(words: Sequence[Bounds], spans: Sequence[Span]) -> FittedSpans:
    """Return the tags of words for spans that do not overlap; a span that cuts a word takes all of it."""
    tags, widened = [tag_schemes.OUTSIDE] * len(words), []
    for span in sorted(spans):
        inside = [place for place, (start, end) in enumerate(words) if start < span.end and end > span.start]
        free = [place for place in inside if tags[place] == tag_schemes.OUTSIDE]
        for place in free:
            tags[place] = f"{'B' if place == free[0] else 'I'}-{span.label}"
        if inside and (words[inside[0]][0] < span.start or words[inside[-1]][1] > span.end):
            widened.append(span)
    return FittedSpans(tags, widened)


def find_overlap(spans: Sequence[Span]) -> tuple[Span, Span] | None:
    """Return the first two spans that share a character; None if none do."""
    ordered = sorted(spans)
    return next(((one, other) for one, other in zip(ordered, ordered[1:], strict=False) if other.start < one.end), None)


def trim_span(text: str, span: Span) -> Span:
    """Return the span without white space at its ends."""
    piece = text[span.start : span.end]
    return Span(span.start + len(piece) - len(piece.lstrip()), span.start + len(piece.rstrip()), span.label)


def span_as_json(text: str, span: Span, **more: Any) -> dict[str, Any]:
    """Return a span with its text, JSON-ready."""
    return {"start": span.start, "end": span.end, "text": text[span.start : span.end], "label": span.label, **more}
