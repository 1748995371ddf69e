"""Token ids of texts, in little memory, cached from run to run."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finewright.core import cache, units

TEXTS_AT_ONCE = 4096
"""Enough to keep every core busy, few enough that what the tokenizer stores about each token does not fill memory."""
WORTH_CACHING = 5000
"""Number of texts from which on the cache is quicker than tokenizing again."""
_FORMAT = "finewright tokens 2"
_OUTPUTS = {"verbose": False, "return_attention_mask": False, "return_token_type_ids": False}
_FILES = ("ids.bin", "lengths.bin", "uncut.bin")


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


def tokenize(  # noqa: PLR0913  a tokenizer, its texts, and what to do with them
    tokenizer: Any,
    texts: Sequence[str],
    *,
    limit: int,
    keep_end: bool,
    keep: bool,
    known: dict[str, list[int]] | None = None,
) -> tuple[TokenRows, np.ndarray]:
    """Return (ids, lengths before cutting). Texts over `limit` are cut at the end, or at the start with `keep_end`.

    The tokenizer itself cuts, so special tokens such as [CLS] and [SEP] stay in place. `keep`: cache the ids of many texts on
    disk. `known`: uncut ids of texts seen before in this process, used and added to if the texts are few: the lists of many
    would fill memory.
    """
    key = _key(tokenizer, texts, limit=limit, keep_end=keep_end) if keep and len(texts) >= WORTH_CACHING else ""
    found = _load(key, len(texts)) if key else None
    if found is None:
        known = known if len(texts) < WORTH_CACHING else None
        pieces = list(_pieces(tokenizer, texts, limit=limit, keep_end=keep_end, known=known))
        flat, lengths, uncut = (np.concatenate([piece[part] for piece in pieces]) for part in range(3))
        found = flat, lengths, uncut
        if key:
            with contextlib.suppress(OSError), cache.create("tokens", key) as place:
                for name, array in zip(_FILES, found, strict=True):
                    array.tofile(place / name)
    return TokenRows(found[0], found[1]), found[2]


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
    tokenizer: Any, texts: Sequence[str], *, limit: int, keep_end: bool, known: dict[str, list[int]] | None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield ids, lengths and lengths before cutting, of TEXTS_AT_ONCE texts at a time."""
    yield (np.zeros(0, dtype=np.int32),) * 3
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = strip_added_start(tokenizer, texts[start : start + TEXTS_AT_ONCE])
        ids = _tokenize_uncut(tokenizer, some, known=known)
        uncut = [len(one) for one in ids]
        long = [index for index, length in enumerate(uncut) if length > limit]
        if long:
            side, tokenizer.truncation_side = tokenizer.truncation_side, "left" if keep_end else "right"
            cut = tokenizer([some[index] for index in long], truncation=True, max_length=limit, **_OUTPUTS)["input_ids"]
            tokenizer.truncation_side = side
            for index, shorter in zip(long, cut, strict=True):
                ids[index] = shorter
        flat = np.fromiter((token for one in ids for token in one), dtype=np.int32)
        yield flat, np.array([len(one) for one in ids], dtype=np.int32), np.array(uncut, dtype=np.int32)


def _tokenize_uncut(tokenizer: Any, texts: list[str], *, known: dict[str, list[int]] | None) -> list[list[int]]:
    if known is None:
        return list(tokenizer(texts, **_OUTPUTS)["input_ids"])
    new = list(dict.fromkeys(text for text in texts if text not in known))
    if new:
        known.update(zip(new, tokenizer(new, **_OUTPUTS)["input_ids"], strict=True))
    return [known[text] for text in texts]


def _key(tokenizer: Any, texts: Sequence[str], *, limit: int, keep_end: bool) -> str:
    """Return a hash of the texts and of all that decides their ids; empty for a tokenizer that does not show its rules."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    rules = {name: value for name, value in json.loads(backend.to_str()).items() if name not in ("truncation", "padding")}
    settings = (_FORMAT, type(tokenizer).__name__, sorted(tokenizer.special_tokens_map.items()), limit, keep_end)
    return cache.make_key([repr(settings), json.dumps(rules, sort_keys=True), *texts])


def _load(key: str, num_texts: int) -> tuple[np.ndarray, ...] | None:
    place = cache.lookup("tokens", key)
    if place is None:
        return None
    try:
        arrays = tuple(np.fromfile(Path(place) / name, dtype=np.int32) for name in _FILES)
    except OSError:
        return None
    whole = len(arrays[1]) == len(arrays[2]) == num_texts and arrays[1].sum(dtype=np.int64) == len(arrays[0])
    return arrays if whole else None
