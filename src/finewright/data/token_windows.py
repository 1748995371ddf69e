"""Tokens of texts whose words have tags: which token stands for each word, and long texts as overlapping windows.

The tokenizer says which characters each token is made of, so any fast tokenizer will do, and a model reads the text as it reads
it anywhere else: no text is cut into words before. The first token of a word stands for it. A text that is too long becomes
several windows; each word is read in the window that shows most of what is around it, and in no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from finewright.core.errors import UserError
from finewright.data import tokenization
from finewright.data.packing import EncodedSplit
from finewright.data.tagged_tokens import TaggedText
from finewright.data.tokenization import TEXTS_AT_ONCE, TokenRows
from finewright.data.words_of_windows import NO_TAG, WordsOfWindow

OVERLAP = 0.25
"""Share of a window that the next one repeats."""


@dataclass(frozen=True)
class EncodedTexts:
    """The windows of texts. `split.targets` are the `WordsOfWindow`. `row_of`: the text of each window.

    `num_windowed`: texts of more than one window. `num_hidden`: words without a token, or whose token is an earlier word's.
    """

    split: EncodedSplit
    row_of: list[int]
    num_windowed: int
    num_hidden: int

    def with_tags(self) -> "EncodedTexts":
        """Return the windows of which a token has a tag: nothing can be learnt from others."""
        split = self.split
        assert split.trained is not None, "as they were encoded"
        assert split.tags is not None, "as they were encoded"
        kept = [place for place, count in enumerate(split.num_trained) if count]
        if len(kept) == len(self.row_of):
            return self
        lengths = np.array([split.lengths[place] for place in kept], dtype=np.int32)
        parts = {
            "ids": _as_rows([np.asarray(split.ids[place]) for place in kept], lengths, np.int32),
            "trained": _as_rows([np.asarray(split.trained[place]) for place in kept], lengths, np.bool_),
            "tags": _as_rows([np.asarray(split.tags[place]) for place in kept], lengths, np.int32),
        }
        made = EncodedSplit(lengths_uncut=lengths.tolist(), targets=[split.targets[place] for place in kept], **parts)
        return replace(self, split=made, row_of=[self.row_of[place] for place in kept])


@dataclass(frozen=True)
class _Text:
    """Tokens of one text. `before`, `after`: special tokens around `ids`. `token_of`: of each word, -1 without one."""

    before: list[int]
    ids: np.ndarray
    after: list[int]
    token_of: np.ndarray


def encode_tagged_texts(
    tokenizer: Any, rows: Sequence[TaggedText], *, limit: int, class_of: Callable[[str], int]
) -> EncodedTexts:
    """Return the windows of at most `limit` tokens of the texts, with the tags of their words if these have some.

    `class_of`: the number of a tag; -100 for one that is not known. Raise `UserError` for a tokenizer that does not say where its
    tokens are in the text.
    """
    if not getattr(tokenizer, "is_fast", False):
        what = f"{type(tokenizer).__name__} does not say which characters a token is made of"
        raise UserError(what, where="model", fix="take a model with a fast tokenizer (tokenizer.json)")
    ids: list[np.ndarray] = []
    marks: list[np.ndarray] = []
    tags: list[np.ndarray] = []
    targets: list[Any] = []
    num_windowed, num_hidden = 0, 0
    for start in range(0, len(rows), TEXTS_AT_ONCE):
        some = rows[start : start + TEXTS_AT_ONCE]
        for number, (row, text) in enumerate(zip(some, _tokenize(tokenizer, some), strict=True), start=start):
            classes = np.array([class_of(tag) for tag in row.tags] or [NO_TAG] * len(row.words), dtype=np.int64)
            windows = _cut_windows(text, limit=limit)
            num_windowed += len(windows) > 1
            num_hidden += int(_hidden(text.token_of).sum())
            for begin, end, own in windows:
                made = _make_window(text, begin, end, own, classes=classes, row=number)
                for part, value in zip((ids, marks, tags, targets), made, strict=True):
                    part.append(value)  # type: ignore[arg-type]
    lengths = np.array([len(one) for one in ids], dtype=np.int32)
    split = EncodedSplit(
        _as_rows(ids, lengths, np.int32),
        lengths.tolist(),
        targets,
        trained=_as_rows(marks, lengths, np.bool_),
        tags=_as_rows(tags, lengths, np.int32),
    )
    return EncodedTexts(split, [one.row for one in targets], num_windowed, num_hidden)


def _as_rows(parts: Sequence[np.ndarray], lengths: np.ndarray, dtype: Any) -> TokenRows:
    return TokenRows(np.concatenate([np.zeros(0, dtype=dtype), *parts]).astype(dtype), lengths)


def _tokenize(tokenizer: Any, rows: Sequence[TaggedText]) -> list[_Text]:
    """Return the tokens of texts, special ones apart, and which of them stands for each word."""
    texts = [row.text for row in rows]
    plain = tokenization.strip_added_start(tokenizer, texts)
    removed = [len(text) - len(rest) for text, rest in zip(texts, plain, strict=True)]
    found = tokenizer(
        plain,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    made = []
    for row, shift, ids, special, offsets in zip(
        rows, removed, found["input_ids"], found["special_tokens_mask"], found["offset_mapping"], strict=True
    ):
        start, end = 0, len(ids)
        while start < end and special[start]:
            start += 1
        while end > start and special[end - 1]:
            end -= 1
        bounds_T2 = np.array(offsets[start:end], dtype=np.int64).reshape(-1, 2) + shift
        token_of = _find_tokens(np.array(row.words, dtype=np.int64).reshape(-1, 2), bounds_T2)
        made.append(_Text(ids[:start], np.array(ids[start:end], dtype=np.int32), ids[end:], token_of))
    return made


def _find_tokens(words_W2: np.ndarray, bounds_T2: np.ndarray) -> np.ndarray:
    """Return the first token that has a character of each word, shape (W,); -1 for a word of which no token has any."""
    if not len(bounds_T2):
        return np.full(len(words_W2), -1, dtype=np.int64)
    ends_T = np.maximum.accumulate(bounds_T2[:, 1])
    first_W = np.searchsorted(ends_T, words_W2[:, 0], side="right")
    inside_W = first_W < len(bounds_T2)
    starts_W = bounds_T2[np.minimum(first_W, len(bounds_T2) - 1), 0]
    return np.where(inside_W & (starts_W < words_W2[:, 1]), first_W, -1)


def _hidden(token_of: np.ndarray) -> np.ndarray:
    """Return whether each word has no token of its own: none at all, or that of the word before."""
    return (token_of < 0) | _shares(token_of)


def _shares(token_of: np.ndarray) -> np.ndarray:
    before = np.concatenate([[-1], token_of[:-1]])
    return (token_of >= 0) & (token_of == before)


def _cut_windows(text: _Text, *, limit: int) -> list[tuple[int, int, np.ndarray]]:
    """Return (first token, end, its words) of each window; every word is in one of them."""
    num_words, num_tokens = len(text.token_of), len(text.ids)
    room = limit - len(text.before) - len(text.after)
    if num_tokens <= room:
        return [(0, num_tokens, np.arange(num_words))]
    if room < 1:
        what = f"a window of {limit} tokens has no room beside {limit - room} special tokens"
        raise UserError(what, where="data.max_length", fix="a larger one")
    step = max(1, room - int(OVERLAP * room))
    starts = [*range(0, num_tokens - room, step), num_tokens - room]
    # Words without a token go with the one before them.
    place_W = np.maximum.accumulate(np.maximum(text.token_of, 0)) if num_words else np.zeros(0, dtype=np.int64)
    left = np.array([[place - start for start in starts] for place in place_W]).reshape(-1, len(starts))
    right = room - 1 - left
    inside = (left >= 0) & (right >= 0)
    left[:, 0], right[:, -1] = room, room  # nothing is cut off at the ends of the text
    around = np.where(inside, np.minimum(left, right), -1)
    owner_W = around.argmax(axis=1)
    return [(start, start + room, np.flatnonzero(owner_W == number)) for number, start in enumerate(starts)]


def _make_window(
    text: _Text, begin: int, end: int, own: np.ndarray, *, classes: np.ndarray, row: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, WordsOfWindow]:
    """Return ids, marks and tags of a window, and its words."""
    ids = np.concatenate([text.before, text.ids[begin:end], text.after]).astype(np.int32)
    marks, tags = np.zeros(len(ids), dtype=bool), np.full(len(ids), NO_TAG, dtype=np.int32)
    token_of = text.token_of[own]
    shares = _shares(text.token_of)[own]
    places = token_of - begin + len(text.before)
    for place, token, shared, tag in zip(places.tolist(), token_of.tolist(), shares.tolist(), classes[own].tolist(), strict=True):
        if token >= 0:
            marks[place] = True
            tags[place] = tags[place] if shared else tag
    order = np.cumsum(marks) - 1
    reads = np.where(token_of >= 0, order[np.clip(places, 0, len(ids) - 1)] if len(ids) else -1, -1)
    first = int(own[0]) if len(own) else 0
    return ids, marks, tags, WordsOfWindow(row, first, reads, shares, classes[own])
