"""The layout of a packed row: where each text begins and ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import torch


@dataclass(frozen=True)
class PackedLayout:
    """Where each text of a packed row begins and ends. Texts are in ascending order of length.

    `prefix`: tokens at the start of the row that belong to no text; every text attends to them as if they were before it.
    `first_lengths`: of each text that is a pair, how many of its tokens are of the first token type; empty if all are.
    `kept`: what every layer needs alike, made once.
    """

    lengths: tuple[int, ...]
    prefix: int = 0
    first_lengths: tuple[int, ...] = ()
    kept: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        assert list(self.lengths) == sorted(self.lengths), "texts of a packed row are in order of length"

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """(number of texts, length) of each run of texts of one length."""
        return [(len(list(texts)), length) for length, texts in groupby(self.lengths)]

    @cached_property
    def last(self) -> torch.Tensor:
        """Index of each text's last token, shape (N,)."""
        return torch.tensor(self.lengths).cumsum(0) - 1 + self.prefix

    @cached_property
    def first(self) -> torch.Tensor:
        """Index of each text's first token, shape (N,)."""
        return self.last + 1 - torch.tensor(self.lengths)

    @cached_property
    def positions(self) -> torch.Tensor:
        """Position of every token in its own text, after the prefix, shape (T,)."""
        texts = [torch.arange(length) + self.prefix for length in self.lengths]
        return torch.cat([torch.arange(self.prefix), *texts])

    @cached_property
    def token_types(self) -> torch.Tensor | None:
        """Type of every token, 1 in the second text of a pair, shape (T,); None if all are 0."""
        if not self.first_lengths:
            return None
        texts = [(torch.arange(length) >= first).long() for length, first in zip(self.lengths, self.first_lengths, strict=True)]
        return torch.cat([torch.zeros(self.prefix, dtype=torch.long), *texts])

    def with_types(self, first_lengths: Sequence[int]) -> "PackedLayout":
        """Return the same texts, of each of which so many tokens are of the first type."""
        return replace(self, first_lengths=tuple(first_lengths), kept={})

    def lengthened(self, by: int) -> "PackedLayout":
        """Return the same texts, each with `by` more tokens before its own."""
        first_lengths = tuple(length + by for length in self.first_lengths)
        return PackedLayout(tuple(length + by for length in self.lengths), first_lengths=first_lengths)

    def prefixed(self, by: int) -> "PackedLayout":
        """Return the same texts behind one prefix of `by` tokens."""
        return PackedLayout(self.lengths, prefix=by, first_lengths=self.first_lengths)


def sort_by_length(lengths: Sequence[int]) -> list[int]:
    """Return indices in ascending order of length, ties in the given order."""
    return sorted(range(len(lengths)), key=lambda index: lengths[index])
