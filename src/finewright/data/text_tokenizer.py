"""Token ids of whole texts that have their special tokens written in them, as chat templates do."""

from collections.abc import Sequence
from typing import Any

from finewright.data.chat_templates import added_start
from finewright.data.tokenization import TEXTS_AT_ONCE

_SENTINELS = ("\n", ":", ".", "a")
"""What a text may follow so that it is tokenized as the continuation that it is."""


class TextTokenizer:
    """Tokenizes whole texts that have their special tokens written in them, with one token at the start where one belongs."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.start = added_start(tokenizer)
        self.end = tokenizer.eos_token_id

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts as they are."""
        found: list[list[int]] = []
        for place in range(0, len(texts), TEXTS_AT_ONCE):
            some = list(texts[place : place + TEXTS_AT_ONCE])
            encoded = self.tokenizer(
                some, add_special_tokens=False, verbose=False, return_attention_mask=False, return_token_type_ids=False
            )
            found += encoded["input_ids"]
        return found

    def whole(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """Return the ids of different texts, each with exactly one start token if the tokenizer adds one."""
        different = list(dict.fromkeys(texts))
        return dict(zip(different, map(self._with_one_start, self.plain(different)), strict=True))

    def _with_one_start(self, ids: list[int]) -> list[int]:
        bos = self.tokenizer.bos_token_id if self.start is None else self.start
        num = 0
        while bos is not None and num < len(ids) and ids[num] == bos:
            num += 1
        if num > 1:
            ids = ids[num - 1 :]
        return [self.start, *ids] if self.start is not None and num == 0 else ids

    def continuation(self, text: str) -> list[int]:
        """Return the ids of a text that follows another one."""
        for sentinel in _SENTINELS:
            before, both = self.plain([sentinel, sentinel + text])
            if both[: len(before)] == before:
                return both[len(before) :]
        return self.plain([text])[0]
