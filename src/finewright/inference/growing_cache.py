"""Keys and values of the tokens so far, in memory that has room for the next ones.

The layers of transformers copy everything for each new token. These copy when their room is full.

Shape suffixes: B answers, A heads of keys, L tokens so far, R tokens that there is room for, T new tokens, D width of a head.
"""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

LEAST_ROOM = 64
"""Tokens that there is at least room for after a copy."""
GROWTH = 0.25
"""More room after a copy, as a share of the tokens so far."""


class GrowingLayer(DynamicLayer):
    """The cache of one layer whose tokens all stay visible."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        """Keep states in `dtype`; None keeps that of the first ones."""
        super().__init__()
        self._dtype = dtype
        self._rooms: list[torch.Tensor] = []
        self._length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add states (B, A, T, D); return all so far (B, A, L, D), which are views."""
        new = (key_states, value_states)
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = self._dtype or key_states.dtype, key_states.device, True
            self._rooms = [states.new_empty((*states.shape[:2], 0, states.shape[3]), dtype=self.dtype) for states in new]
        end = self._length + key_states.shape[2]
        if end > self._rooms[0].shape[2]:
            wanted = end + max(LEAST_ROOM, int(GROWTH * end))
            self._rooms = [_widen(room_BARD, self._length, wanted) for room_BARD in self._rooms]
        for room_BARD, states in zip(self._rooms, new, strict=True):
            room_BARD[:, :, self._length : end] = states
        self._length = end
        return self._show_used()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep the answers of these places, in this order."""
        self._rooms = [room_BARD.index_select(0, beam_idx.to(room_BARD.device)) for room_BARD in self._rooms]
        if self._rooms:
            self._show_used()

    def _show_used(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Set keys and values to the used part of their room, and return them."""
        keys, values = (room_BARD[:, :, : self._length] for room_BARD in self._rooms)
        self.keys, self.values = keys, values
        return keys, values


def _widen(room_BARD: torch.Tensor, used: int, wanted: int) -> torch.Tensor:
    """Return memory for `wanted` tokens with the used ones."""
    wider = room_BARD.new_empty((*room_BARD.shape[:2], wanted, room_BARD.shape[3]))
    wider[:, :, :used] = room_BARD[:, :, :used]
    return wider


def make_cache(config: Any, *, dtype: torch.dtype | None = None) -> DynamicCache:
    """Return an empty cache for a model of transformers. `dtype`: as of `GrowingLayer`.

    Layers with a window or a state of another kind are transformers' own.
    """
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer(dtype) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
