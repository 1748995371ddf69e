"""Token ids of texts, in little memory, cached from run to run."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from finewright.core import cache, units
from finewright.core.errors import UserError
from finewright.data import pair_separator
from finewright.data.text_pairs import TextInput, are_pairs, split_pairs

TEXTS_AT_ONCE = 4096
"""Enough to keep every core busy, few enough that what the tokenizer stores about each token does not fill memory."""
WORTH_CACHING = 5000
"""Number of texts from which on the cache is quicker than tokenizing again."""
_FORMAT = "finewright tokens 3"
_OUTPUTS = {"verbose": False, "return_attention_mask": False, "return_token_type_ids": False}
_FILES = ("ids.bin", "lengths.bin", "uncut.bin", "first.bin")


class TokenRows(Sequence[np.ndarray]):
    """Token ids of many texts in one array; row i is an array of the ids of text i."""

    def __init__(self, flat: np.ndarray, lengths: np.ndarray) -> None:
        self.flat, self.lengths = flat, lengths
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.lengths)

    def __getitem__(self, row: Any) -> Any:
        """Return the ids of one text."""
        return self.flat[self._starts[row] : self._starts[row + 1]]

    def tolist(self) -> list[list[int]]:
        """Return plain lists."""
        return [row.tolist() for row in self]


class Tokenized(NamedTuple):
    """`lengths_uncut`: tokens of each text before cutting, shape (N,). `first_lengths`: of each pair, how many tokens are of the
    first token type, shape (N,); None where the tokenizer knows no types, or for single texts, whose tokens all are."""

    ids: TokenRows
    lengths_uncut: np.ndarray
    first_lengths: np.ndarray | None = None


def tokenize(  # noqa: PLR0913  a tokenizer, its texts, and what to do with them
    tokenizer: Any,
    texts: Sequence[TextInput],
    *,
    limit: int,
    keep_end: bool,
    keep: bool,
    known: dict[str, list[int]] | None = None,
) -> Tokenized:
    """Return token ids. Texts over `limit` are cut at the end, or at the start with `keep_end`.

    Of a pair over `limit` the longer text is cut until both are of one length, then both in turn.

    The tokenizer itself cuts, so special tokens such as [CLS] and [SEP] stay in place. `keep`: cache the ids of many texts on
    disk. `known`: uncut ids of texts seen before in this process, used and added to if the texts are few: the lists of many
    would fill memory.
    """
    if are_pairs(texts):
        pair_separator.ensure_separator(tokenizer)
        _check_limit(tokenizer, limit)
    key = _key(tokenizer, texts, limit=limit, keep_end=keep_end) if keep and len(texts) >= WORTH_CACHING else ""
    found = _load(key, len(texts)) if key else None
    if found is None:
        known = known if len(texts) < WORTH_CACHING else None
        pieces = list(_pieces(tokenizer, texts, limit=limit, keep_end=keep_end, known=known))
        found = tuple(np.concatenate([piece[part] for piece in pieces]) for part in range(len(_FILES)))
        if key:
            with contextlib.suppress(OSError), cache.create("tokens", key) as place:
                for name, array in zip(_FILES, found, strict=True):
                    array.tofile(place / name)
    return Tokenized(TokenRows(found[0], found[1]), found[2], found[3] if len(found[3]) else None)


def _check_limit(tokenizer: Any, limit: int) -> None:
    """Raise `UserError` if a pair cut to `limit` tokens would hold nothing of one of its texts."""
    least = pair_separator.least_length(tokenizer)
    if limit < least:
        what = f"{limit} tokens hold no pair: with its special tokens the shortest has {least}"
        raise UserError(what, where="data.max_length", fix=f"data.max_length={least} or more")


def strip_added_start(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Return the texts without the token that the tokenizer puts before each by itself, such as <s>.

    A text that a chat template has rendered begins with it already; the model was trained with one, never with two.
    """
    ids = tokenizer("", **_OUTPUTS)["input_ids"]
    starts = [token for token in (tokenizer.bos_token, tokenizer.cls_token) if token]
    start = next((token for token in starts if ids and tokenizer.convert_tokens_to_ids(token) == ids[0]), "")
    return [_strip(text, start) for text in texts] if start else list(texts)


def _strip(text: str, start: str) -> str:
    while text.startswith(start):
        text = text.removeprefix(start)
    return text


def cache_note(tokenizer: Any, counts: Sequence[int]) -> str:
    """Return where the ids of splits of so many texts are cached and why; empty if they are not."""
    cached = sum(count for count in counts if count >= WORTH_CACHING)
    if not cached or getattr(tokenizer, "backend_tokenizer", None) is None:
        return ""
    bound = f"at most {units.format_bytes(cache.MOST_BYTES)} and {cache.MOST_SHARE:.0%} of the disk's space"
    return f"{cached:,} texts in {cache.cache_folder()}: from {WORTH_CACHING:,} on that is faster than tokenizing again; {bound}"


def _pieces(
    tokenizer: Any, texts: Sequence[TextInput], *, limit: int, keep_end: bool, known: dict[str, list[int]] | None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield ids, lengths, lengths before cutting and `Tokenized.first_lengths`, of TEXTS_AT_ONCE texts at a time."""
    yield (np.zeros(0, dtype=np.int32),) * len(_FILES)
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some, types = texts[start : start + TEXTS_AT_ONCE], list[list[int]]()
        if are_pairs(some):
            columns = _strip_pairs(tokenizer, some)
            ids, types = _tokenize_pairs(tokenizer, *columns)
        else:
            columns = (strip_added_start(tokenizer, [text for text in some if isinstance(text, str)]),)
            ids = _tokenize_uncut(tokenizer, *columns, known=known)
        uncut = [len(one) for one in ids]
        long = [index for index, length in enumerate(uncut) if length > limit]
        if long:
            side, tokenizer.truncation_side = tokenizer.truncation_side, "left" if keep_end else "right"
            parts = [[column[index] for index in long] for column in columns]
            asked = {**_OUTPUTS, "return_token_type_ids": bool(types)}
            cut = tokenizer(*parts, truncation="longest_first", max_length=limit, **asked)
            tokenizer.truncation_side = side
            for place, index in enumerate(long):
                ids[index] = cut["input_ids"][place]
                if types:
                    types[index] = cut["token_type_ids"][place]
        flat = np.fromiter((token for one in ids for token in one), dtype=np.int32)
        lengths = np.array([len(one) for one in ids], dtype=np.int32)
        yield flat, lengths, np.array(uncut, dtype=np.int32), _count_first(types)


def _strip_pairs(tokenizer: Any, pairs: Sequence[TextInput]) -> tuple[list[str], list[str]]:
    """Return both columns of pairs, the first one without the token that the tokenizer puts before it."""
    first, second = split_pairs(pairs)
    return strip_added_start(tokenizer, first), second


def _tokenize_pairs(tokenizer: Any, first: list[str], second: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the uncut ids of pairs, and the type of each token; no types where the tokenizer knows none."""
    has_types = "token_type_ids" in tokenizer.model_input_names
    found = tokenizer(first, second, **{**_OUTPUTS, "return_token_type_ids": has_types})
    return list(found["input_ids"]), list(found["token_type_ids"]) if has_types else []


def _count_first(types: list[list[int]]) -> np.ndarray:
    """Return how many tokens of each pair are of type 0, which come before all of type 1, shape (N,); empty without types."""
    if any(row != sorted(row) or row[-1:] > [1] for row in types):
        what = "the tokenizer marks the texts of a pair by types that are not 0 and then 1"
        raise UserError(what, where="tokenizer", fix="data.text_columns_as=joined, or another model")
    return np.array([row.count(0) for row in types], dtype=np.int32)


def _tokenize_uncut(tokenizer: Any, texts: list[str], *, known: dict[str, list[int]] | None) -> list[list[int]]:
    if known is None:
        return list(tokenizer(texts, **_OUTPUTS)["input_ids"])
    new = list(dict.fromkeys(text for text in texts if text not in known))
    if new:
        known.update(zip(new, tokenizer(new, **_OUTPUTS)["input_ids"], strict=True))
    return [known[text] for text in texts]


def _key(tokenizer: Any, texts: Sequence[TextInput], *, limit: int, keep_end: bool) -> str:
    """Return a hash of the texts and of all that decides their ids; empty for a tokenizer that does not show its rules."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    rules = {name: value for name, value in json.loads(backend.to_str()).items() if name not in ("truncation", "padding")}
    settings = (_FORMAT, type(tokenizer).__name__, sorted(tokenizer.special_tokens_map.items()), limit, keep_end)
    if are_pairs(texts):
        first, second = split_pairs(texts)
        types = "token_type_ids" in tokenizer.model_input_names
        return cache.make_key([repr((*settings, "pairs", types)), json.dumps(rules, sort_keys=True), *first, *second])
    return cache.make_key([repr(settings), json.dumps(rules, sort_keys=True), *map(str, texts)])


def _load(key: str, num_texts: int) -> tuple[np.ndarray, ...] | None:
    place = cache.lookup("tokens", key)
    if place is None:
        return None
    try:
        arrays = tuple(np.fromfile(Path(place) / name, dtype=np.int32) for name in _FILES)
    except OSError:
        return None
    whole = len(arrays[1]) == len(arrays[2]) == num_texts and arrays[1].sum(dtype=np.int64) == len(arrays[0])
    whole = whole and len(arrays[3]) in (0, num_texts)
    return arrays if whole else None
