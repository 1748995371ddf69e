"""Texts → token ids in little memory, kept from run to run."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finewright.core import cache, units

TEXTS_AT_ONCE = 4096
"""Enough for the tokenizer to keep every core busy, few enough that its own notes about each token do not fill memory."""
WORTH_KEEPING = 5000
"""Texts from which on looking them up is quicker than tokenising them again."""
_FORMAT = "finewright tokens 1"
_ASK = {"verbose": False, "return_attention_mask": False, "return_token_type_ids": False}
_FILES = ("ids.bin", "lengths.bin", "uncut.bin")


class TokenRows(Sequence[np.ndarray]):
    """Token ids of many texts in one array; row i is an array of the ids of text i."""

    def __init__(self, flat: np.ndarray, lengths: np.ndarray) -> None:
        self.flat, self.lengths = flat, lengths
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    def __len__(self) -> int:
        """How many texts."""
        return len(self.lengths)

    def __getitem__(self, row: Any) -> Any:
        """The ids of one text."""
        return self.flat[self._starts[row] : self._starts[row + 1]]

    def tolist(self) -> list[list[int]]:
        """Plain lists."""
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
    """(ids, lengths before cutting); texts over `limit` are cut at the end, or at the start with `keep_end`.

    The tokenizer itself cuts, so special tokens such as [CLS] and [SEP] stay in place. `keep`: find the ids of many texts in
    the store, or put them there. `known`: uncut ids of texts met before in this process, used and added to when the texts are
    few: lists of numbers would fill memory with many.
    """
    key = _key(tokenizer, texts, limit=limit, keep_end=keep_end) if keep and len(texts) >= WORTH_KEEPING else ""
    found = _find(key, len(texts)) if key else None
    if found is None:
        known = known if len(texts) < WORTH_KEEPING else None
        pieces = list(_pieces(tokenizer, texts, limit=limit, keep_end=keep_end, known=known))
        flat, lengths, uncut = (np.concatenate([piece[part] for piece in pieces]) for part in range(3))
        found = flat, lengths, uncut
        if key:
            with contextlib.suppress(OSError), cache.create("tokens", key) as place:
                for name, array in zip(_FILES, found, strict=True):
                    array.tofile(place / name)
    return TokenRows(found[0], found[1]), found[2]


def cache_note(tokenizer: Any, counts: Sequence[int]) -> str:
    """Where the ids of splits of so many texts are kept and why; empty where they are not."""
    kept = sum(count for count in counts if count >= WORTH_KEEPING)
    if not kept or getattr(tokenizer, "backend_tokenizer", None) is None:
        return ""
    bound = f"at most {units.format_bytes(cache.MOST_BYTES)} and {cache.MOST_SHARE:.0%} of the disk's room"
    return f"{kept:,} texts in {cache.cache_folder()}: from {WORTH_KEEPING:,} on they are found faster than made again; {bound}"


def _pieces(
    tokenizer: Any, texts: Sequence[str], *, limit: int, keep_end: bool, known: dict[str, list[int]] | None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Ids, lengths and lengths before cutting of so many texts at a time."""
    yield (np.zeros(0, dtype=np.int32),) * 3
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = list(texts[start : start + TEXTS_AT_ONCE])
        ids = _uncut(tokenizer, some, known=known)
        uncut = [len(one) for one in ids]
        long = [index for index, length in enumerate(uncut) if length > limit]
        if long:
            side, tokenizer.truncation_side = tokenizer.truncation_side, "left" if keep_end else "right"
            cut = tokenizer([some[index] for index in long], truncation=True, max_length=limit, **_ASK)["input_ids"]
            tokenizer.truncation_side = side
            for index, shorter in zip(long, cut, strict=True):
                ids[index] = shorter
        flat = np.fromiter((token for one in ids for token in one), dtype=np.int32)
        yield flat, np.array([len(one) for one in ids], dtype=np.int32), np.array(uncut, dtype=np.int32)


def _uncut(tokenizer: Any, texts: list[str], *, known: dict[str, list[int]] | None) -> list[list[int]]:
    if known is None:
        return list(tokenizer(texts, **_ASK)["input_ids"])
    new = list(dict.fromkeys(text for text in texts if text not in known))
    if new:
        known.update(zip(new, tokenizer(new, **_ASK)["input_ids"], strict=True))
    return [known[text] for text in texts]


def _key(tokenizer: Any, texts: Sequence[str], *, limit: int, keep_end: bool) -> str:
    """Hash of the texts and of all that decides their ids; empty for a tokenizer that does not tell."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    rules = {name: value for name, value in json.loads(backend.to_str()).items() if name not in ("truncation", "padding")}
    settings = (_FORMAT, type(tokenizer).__name__, sorted(tokenizer.special_tokens_map.items()), limit, keep_end)
    return cache.make_key([repr(settings), json.dumps(rules, sort_keys=True), *texts])


def _find(key: str, num_texts: int) -> tuple[np.ndarray, ...] | None:
    place = cache.lookup("tokens", key)
    if place is None:
        return None
    try:
        arrays = tuple(np.fromfile(Path(place) / name, dtype=np.int32) for name in _FILES)
    except OSError:
        return None
    whole = len(arrays[1]) == len(arrays[2]) == num_texts and arrays[1].sum(dtype=np.int64) == len(arrays[0])
    return arrays if whole else None
