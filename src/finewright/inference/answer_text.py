"""The text of an answer while its tokens arrive: whole characters only, cut at stop strings."""

from collections.abc import Sequence
from typing import Any

CONTEXT_TOKENS = 6
"""Tokens of the prompt that are decoded before the answer: some tokenizers drop the space at the start of a text."""
_INCOMPLETE = "\ufffd"
"""What a decoder writes for bytes that are not yet a character."""


class AnswerText:
    """Decodes one answer token by token.

    A token may hold a part of a character, so text is released when its last character is whole. Text that may be the
    start of a stop string is held back until it is known.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int], *, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, [one for one in stop if one]
        self._ids = list(prompt[-CONTEXT_TOKENS:])
        self._start, self._read = 0, len(self._ids)  # of the tokens that are decoded together; of those that are not yet text
        self._text, self._released = "", 0
        self.stopped = False

    @property
    def text(self) -> str:
        """The text so far, without a stop string."""
        return self._text

    def append(self, token: int) -> str:
        """Add a token. Return the text that it releases; `stopped` tells whether a stop string was found."""
        self._ids.append(token)
        before = self._decode(self._start, self._read)
        whole = self._decode(self._start, len(self._ids))
        if len(whole) <= len(before) or whole.endswith(_INCOMPLETE):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return self._add(whole[len(before) :])

    def finish(self) -> str:
        """Return the rest of the text, also of an incomplete character. No token follows."""
        if self.stopped:
            return ""
        rest = self._decode(self._start, len(self._ids))[len(self._decode(self._start, self._read)) :]
        self._read = self._start = len(self._ids)
        released = self._add(rest)
        if not self.stopped:
            released += self._text[self._released :]
            self._released = len(self._text)
        return released

    def _decode(self, start: int, end: int) -> str:
        some = self._ids[start:end]
        return self._tokenizer.decode(some, skip_special_tokens=True, clean_up_tokenization_spaces=False) if some else ""

    def _add(self, piece: str) -> str:
        """Add a piece of text, cut it at the first stop string, and return what can be released."""
        longest = max(map(len, self._stop), default=1)
        search_from = max(0, len(self._text) - longest + 1)
        self._text += piece
        found = [place for one in self._stop if (place := self._text.find(one, search_from)) >= 0]
        if found:
            self.stopped, self._text = True, self._text[: min(found)]
        end = len(self._text) if self.stopped else len(self._text) - self._held_back()
        released = self._text[self._released : end]
        self._released = max(self._released, end)
        return released

    def _held_back(self) -> int:
        """Return the length of the longest end of the text that a stop string begins with."""
        lengths = [size for one in self._stop for size in range(1, len(one)) if self._text.endswith(one[:size])]
        return max(lengths, default=0)
