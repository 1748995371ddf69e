"""Packed attention, registered with transformers: many texts in one row, no padding.

Shape suffixes: T tokens of all texts, N texts, L tokens of one text, A heads, D width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import torch

NAME = "finewright_packed"


@dataclass(frozen=True)
class Layout:
    """Where each text of a packed row begins and ends. Texts stand in ascending order of length."""

    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        assert list(self.lengths) == sorted(self.lengths), "texts of a packed row stand in order of length"

    @cached_property
    def groups(self) -> list[tuple[int, int, int]]:
        """(first token, number of texts, length) of each run of texts of one length."""
        groups, start = [], 0
        for length, members in groupby(self.lengths):
            count = len(list(members))
            groups.append((start, count, length))
            start += count * length
        return groups

    @cached_property
    def last(self) -> torch.Tensor:
        """Index of each text's last token, shape (N,)."""
        return torch.tensor(self.lengths).cumsum(0) - 1

    @cached_property
    def first(self) -> torch.Tensor:
        """Index of each text's first token, shape (N,)."""
        return self.last + 1 - torch.tensor(self.lengths)

    @cached_property
    def positions(self) -> torch.Tensor:
        """Position of every token in its own text, shape (T,)."""
        return torch.cat([torch.arange(length) for length in self.lengths])

    def lengthened(self, by: int) -> "Layout":
        """The same texts, each with `by` more tokens."""
        return Layout(tuple(length + by for length in self.lengths))


def _blocked(length: int, *, causal: bool, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Pairs (query, key) that may not see each other, shape (L, L); None when all may."""
    if not causal:
        return None
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    blocked = ones.triu(1)
    if window is not None and length > window:  # a query sees its own token and the window - 1 before it
        blocked |= ones.tril(-window)
    return blocked


def packed_attention(  # noqa: PLR0913  the signature is transformers' own
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    **_: Any,  # transformers hands every attention function its own extras
) -> tuple[torch.Tensor, None]:
    """Attention inside each text only; query (1, A, T, D) → (1, T, A, D).

    One batched product per distinct length: for short texts on a CPU this is several times faster than a
    masked or fused kernel over the whole row.
    """
    assert layout is not None, "packed attention needs the layout of its row"
    assert query.shape[0] == 1, "packed attention wants one row"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    num_repeats = query.shape[1] // key.shape[1]
    if num_repeats > 1:  # grouped-query attention
        key, value = key.repeat_interleave(num_repeats, dim=1), value.repeat_interleave(num_repeats, dim=1)
    causal = bool(getattr(module, "is_causal", False))
    device, dtype = query.device.type, value.dtype
    if device == "cpu":  # oneDNN compiles a bfloat16 product for every new shape, and every length is one
        query, key, value = query.float(), key.float(), value.float()
    outputs = []
    with torch.autocast(device, enabled=device != "cpu" and torch.is_autocast_enabled(device)):
        for start, count, length in layout.groups:
            tokens = slice(start, start + count * length)
            query_ANLD, key_ANLD, value_ANLD = (x[0, :, tokens].unflatten(1, (count, length)) for x in (query, key, value))
            scores = query_ANLD @ key_ANLD.transpose(-1, -2) * scale
            blocked = _blocked(length, causal=causal, window=sliding_window, device=query.device)
            if blocked is not None:
                scores = scores.masked_fill(blocked, float("-inf"))
            shares = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
            if dropout > 0:
                shares = torch.nn.functional.dropout(shares, p=dropout)
            outputs.append((shares @ value_ANLD).flatten(1, 2))
    return torch.cat(outputs, dim=1).transpose(0, 1).unsqueeze(0).to(dtype), None


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says who sees whom; a mask over the whole row would be T × T for nothing."""


def register() -> None:
    """Make `NAME` known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def sort_by_length(lengths: Sequence[int]) -> list[int]:
    """Indices in ascending order of length, ties in the given order."""
    return sorted(range(len(lengths)), key=lambda index: lengths[index])
