"""Attention of long texts in tiles that fit a processor's caches. Scores are not saved for the backward pass.

The backward pass computes them again, tile by tile, and samples the same dropout masks again (FlashAttention: Dao et al. 2022,
arXiv:2205.14135, sections 3.1 and B.4, here with PyTorch's matrix products).

Shape suffixes: B heads of texts of one length, Q queries of each, K keys of each, D width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch

from finewright.models import torch_compat
from finewright.models.attention import tracing
from finewright.models.kernels import DropoutMask

QUERIES_PER_TILE = {"cpu": 64, "cuda": 512}
"""By device. A causal tile has no scores beyond its last query. On other devices dropout masks cannot be sampled again, so texts
are not tiled."""
SCORES_PER_TILE = {"cpu": 1 << 18, "cuda": 1 << 24}
"""About 1 MB, in a core's own cache; a GPU needs larger products (a quarter of a GB in the backward pass)."""


@dataclass(frozen=True)
class MaskSpec:
    """Which keys a query sees: all of its text, or if `causal` its own and earlier ones; of these only the ones that are fewer
    than `window` tokens away."""

    causal: bool
    window: int | None = None

    @property
    def hides(self) -> bool:
        """Whether any query may not see a key of its text."""
        return self.causal or self.window is not None


@dataclass(frozen=True)
class _Tile:
    """`heads` of B, `queries` of Q, and the `keys` of K that any of these queries sees; `mask` is added to the scores."""

    heads: slice
    queries: slice
    keys: slice
    mask: torch.Tensor | None

    def of_queries(self, states_BQD: torch.Tensor) -> torch.Tensor:
        """This tile's part of tensors with one row per query."""
        return states_BQD[self.heads, self.queries]

    def of_keys(self, states_BKD: torch.Tensor) -> torch.Tensor:
        """This tile's part of tensors with one row per key."""
        return states_BKD[self.heads, self.keys]

    def num_scores(self) -> int:
        """Queries times keys of all heads."""
        return prod(part.stop - part.start for part in (self.heads, self.queries, self.keys))


def attend(
    query_BQD: torch.Tensor, key_BKD: torch.Tensor, value_BKD: torch.Tensor, *, mask: MaskSpec, scale: float, dropout: float
) -> torch.Tensor:
    """Attention outputs, (B, Q, D), with the softmax in float32. The queries of a causal text are those of its last tokens."""
    return _Attention.apply(query_BQD, key_BKD, value_BKD, mask, scale, dropout)  # type: ignore[no-any-return]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913  as `attend`
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: MaskSpec, scale: float, dropout: float
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.mask, ctx.scale, ctx.dropout = mask, scale, DropoutMask(dropout, query.device)
        outputs = query.new_empty(*query.shape[:2], value.shape[2])
        for tile in tracing.representative(_tiles(query, key, mask), size=_Tile.num_scores):
            tile.of_queries(outputs).copy_(_attend_tile(tile, query, key, value, scale=scale, dropout=ctx.dropout))
        return outputs.mul_(ctx.dropout.weight) if ctx.dropout.drops else outputs

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, dropout = ctx.saved_tensors, ctx.dropout.replay()
        grad_outputs = gradients[0] * dropout.weight if dropout.drops else gradients[0]
        grads = [torch.zeros_like(tensor) for tensor in states]
        for tile in tracing.representative(_tiles(states[0], states[1], ctx.mask), size=_Tile.num_scores):
            _backpropagate_tile(tile, grad_outputs, states, grads, scale=ctx.scale, dropout=dropout)
        return grads[0].mul_(ctx.scale), grads[1], grads[2], None, None, None


def _probabilities(tile: _Tile, query_BQD: torch.Tensor, key_BKD: torch.Tensor, *, scale: float) -> torch.Tensor:
    """A tile's attention probabilities, float32."""
    query, key_T = tile.of_queries(query_BQD), tile.of_keys(key_BKD).transpose(1, 2)
    scores = torch.bmm(query, key_T).mul_(scale) if tile.mask is None else torch.baddbmm(tile.mask, query, key_T, alpha=scale)
    return scores.softmax(dim=-1, dtype=torch.float32)


def _attend_tile(  # noqa: PLR0913  three states and how they meet
    tile: _Tile, query_BQD: torch.Tensor, key_BKD: torch.Tensor, value_BKD: torch.Tensor, *, scale: float, dropout: DropoutMask
) -> torch.Tensor:
    """A tile's outputs, not yet scaled for dropout."""
    probabilities = _probabilities(tile, query_BQD, key_BKD, scale=scale).to(value_BKD.dtype)
    if dropout.drops:
        probabilities.mul_(dropout.sample(probabilities))
    return torch.bmm(probabilities, tile.of_keys(value_BKD))


def _backpropagate_tile(  # noqa: PLR0913  as `_attend_tile`, and where the gradients go
    tile: _Tile,
    grad_outputs_BQD: torch.Tensor,
    states: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    *,
    scale: float,
    dropout: DropoutMask,
) -> None:
    """Add a tile's gradients of queries (not yet scaled), keys and values to `grads`."""
    query_BQD, key_BKD, value_BKD = states
    probabilities, grad_outputs = _probabilities(tile, query_BQD, key_BKD, scale=scale), tile.of_queries(grad_outputs_BQD)
    grad_probabilities = torch.bmm(grad_outputs, tile.of_keys(value_BKD).transpose(1, 2))
    used = probabilities.to(grad_outputs.dtype)
    if dropout.drops:
        mask = dropout.sample(used)
        grad_probabilities.mul_(mask)
        used = mask.mul_(used)
    _add_product(tile.of_keys(grads[2]), used.transpose(1, 2), grad_outputs)
    grad_scores = torch_compat.softmax_backward(grad_probabilities.float(), probabilities).to(grad_outputs.dtype)
    _add_product(tile.of_queries(grads[0]), grad_scores, tile.of_keys(key_BKD))
    _add_product(tile.of_keys(grads[1]), grad_scores.transpose(1, 2), tile.of_queries(query_BQD), scale=scale)


def _add_product(to: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, scale: float = 1.0) -> None:
    """Add a matrix product in place."""
    torch.baddbmm(to, left, right, alpha=scale, out=to)


def _tiles(query_BQD: torch.Tensor, key_BKD: torch.Tensor, spec: MaskSpec) -> list[_Tile]:
    (num_heads, num_queries, _), num_keys, device = query_BQD.shape, key_BKD.shape[1], query_BQD.device
    height = min(num_queries, QUERIES_PER_TILE[device.type])
    heads_per_tile = max(1, SCORES_PER_TILE[device.type] // (height * num_keys))
    most = num_keys - 1  # no query has more keys before its own
    whole = build_mask(height, most, spec=spec, device=device).to(query_BQD.dtype) if spec.hides else None
    tiles = []
    for head, first in product(range(0, num_heads, heads_per_tile), range(0, num_queries, height)):
        queries, keys, mask = slice(first, min(first + height, num_queries)), slice(0, num_keys), None
        if whole is not None:
            before = num_keys - num_queries + first  # keys before the first query's own
            end = before + queries.stop - first  # after the last query's own key
            start = 0 if spec.window is None else max(0, before + 1 - spec.window)
            keys = slice(start, end if spec.causal or spec.window is None else min(num_keys, end - 1 + spec.window))
            mask = whole[: queries.stop - first, most - before + keys.start : most - before + keys.stop]
        tiles.append(_Tile(slice(head, min(head + heads_per_tile, num_heads)), queries, keys, mask))
    return tiles


def build_mask(num_queries: int, before: int, *, spec: MaskSpec, device: torch.device) -> torch.Tensor:
    """Return what is added to scores: -inf where a query does not see a key.

    Rows are queries, columns `before` keys and one for each query; without causality as many again after them as a window of
    all keys can reach, (num_queries, before + num_queries + before).
    """
    after = 0 if spec.causal else before
    blocked = torch.zeros(num_queries, before + num_queries + after, dtype=torch.bool, device=device)
    if spec.causal:
        blocked |= torch.ones_like(blocked).triu(before + 1)
    if spec.window is not None:  # a query sees its own token and the window - 1 before it, and after it
        blocked |= torch.ones_like(blocked).tril(before - spec.window)
        if not spec.causal:
            blocked |= torch.ones_like(blocked).triu(before + spec.window)
    return torch.zeros(blocked.shape, device=device).masked_fill_(blocked, float("-inf"))
