"""Attention of long texts in tiles that a processor's caches hold; of the scores nothing is kept for the way back.

There they are computed anew, tile by tile, and what was dropped is drawn again (FlashAttention: Dao et al. 2022,
arXiv:2205.14135, sections 3.1 and B.4, here in products of PyTorch).

Shape suffixes: B heads of texts of one length, R tokens of each that ask, K tokens that each sees, D width of a head.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from finewright.kernels import Drawn

ROWS = {"cpu": 64, "cuda": 512}
"""Tokens of a tile that ask: of a causal text what lies beyond them is not computed."""
NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Scores of a tile, about: 1 MB in a core's own cache; a GPU wants larger products."""


@dataclass(frozen=True)
class Sight:
    """Who sees whom: all of a text, or itself and what is before; `window`: of that itself and the last `window` - 1."""

    causal: bool
    window: int | None = None


@dataclass(frozen=True)
class _Tile:
    """`heads` of B, `rows` of R, `keys` of K that any of the rows sees; `mask`: what is added to scores, None: nothing."""

    heads: slice
    rows: slice
    keys: slice
    mask: torch.Tensor | None

    def asking(self, states_BRD: torch.Tensor) -> torch.Tensor:
        """Its own of what asks."""
        return states_BRD[self.heads, self.rows]

    def seen(self, states_BKD: torch.Tensor) -> torch.Tensor:
        """Its own of what is seen."""
        return states_BKD[self.heads, self.keys]


def attend(
    query_BRD: torch.Tensor, key_BKD: torch.Tensor, value_BKD: torch.Tensor, *, sight: Sight, scale: float, dropout: float
) -> torch.Tensor:
    """What each token that asks has seen, (B, R, D): the last ones of a causal text, of another any. Softmax is in float32."""
    return _Attention.apply(query_BRD, key_BKD, value_BKD, sight, scale, dropout)  # type: ignore[no-any-return]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913  as `attend`
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sight: Sight, scale: float, dropout: float
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.sight, ctx.scale, ctx.drawn = sight, scale, Drawn(dropout, query.device)
        seen = torch.empty_like(query)
        for tile in _tiles(query, key, sight):
            shares = _shares(tile, query, key, scale=scale).to(value.dtype)
            if ctx.drawn.drops:
                shares.mul_(ctx.drawn.kept(shares))
            tile.asking(seen).copy_(torch.bmm(shares, tile.seen(value)))
        return seen.mul_(ctx.drawn.weight) if ctx.drawn.drops else seen

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (query, key, value), drawn = ctx.saved_tensors, ctx.drawn.again()
        given = gradients[0] * drawn.weight if drawn.drops else gradients[0]
        back_query, back_key, back_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for tile in _tiles(query, key, ctx.sight):
            shares, mine = _shares(tile, query, key, scale=ctx.scale), tile.asking(given)
            back_shares, used = torch.bmm(mine, tile.seen(value).transpose(1, 2)), shares.to(given.dtype)
            if drawn.drops:
                kept = drawn.kept(used)
                back_shares.mul_(kept)
                used = kept.mul_(used)
            tile.seen(back_value).baddbmm_(used.transpose(1, 2), mine)
            back = torch.ops.aten._softmax_backward_data(back_shares.float(), shares, 2, torch.float32).to(given.dtype)
            tile.asking(back_query).copy_(torch.bmm(back, tile.seen(key)))
            tile.seen(back_key).baddbmm_(back.transpose(1, 2), tile.asking(query), alpha=ctx.scale)
        return back_query.mul_(ctx.scale), back_key, back_value, None, None, None


def _shares(tile: _Tile, query_BRD: torch.Tensor, key_BKD: torch.Tensor, *, scale: float) -> torch.Tensor:
    """How much each row of a tile takes of each key, in float32."""
    asking, turned = tile.asking(query_BRD), tile.seen(key_BKD).transpose(1, 2)
    scores = torch.bmm(asking, turned).mul_(scale) if tile.mask is None else torch.baddbmm(tile.mask, asking, turned, alpha=scale)
    return scores.softmax(dim=-1, dtype=torch.float32)


def _tiles(query_BRD: torch.Tensor, key_BKD: torch.Tensor, sight: Sight) -> Iterator[_Tile]:
    (num_heads, num_rows, _), num_keys, device = query_BRD.shape, key_BKD.shape[1], query_BRD.device
    high = ROWS.get(device.type, ROWS["cuda"])
    wide = max(1, NUMBERS.get(device.type, NUMBERS["cuda"]) // (min(high, num_rows) * num_keys))
    masks: dict[tuple[int, int], torch.Tensor] = {}
    for head, row in product(range(0, num_heads, wide), range(0, num_rows, high)):
        rows, keys, mask = slice(row, min(row + high, num_rows)), slice(0, num_keys), None
        if sight.causal:
            before = num_keys - num_rows + row  # keys before the first row's own
            keys = slice(0 if sight.window is None else max(0, before + 1 - sight.window), before + rows.stop - row)
            shape = (rows.stop - row, before - keys.start)
            if shape not in masks:
                masks[shape] = mask_of(*shape, window=sight.window, device=device).to(query_BRD.dtype)
            mask = masks[shape]
        yield _Tile(slice(head, head + wide), rows, keys, mask)


def mask_of(num_rows: int, before: int, *, window: int | None, device: torch.device) -> torch.Tensor:
    """What is added to scores, (num_rows, before + num_rows): -inf where a token may not look."""
    blocked = torch.ones(num_rows, before + num_rows, dtype=torch.bool, device=device).triu(before + 1)
    if window is not None:  # a query sees its own token and the window - 1 before it
        blocked |= torch.ones_like(blocked).tril(before - window)
    return torch.zeros(blocked.shape, device=device).masked_fill_(blocked, float("-inf"))
