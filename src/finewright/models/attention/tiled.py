"""Attention of long texts in tiles that a processor's caches hold; of the scores nothing is kept for the way back.

There they are computed anew, tile by tile, and what was dropped is drawn again (FlashAttention: Dao et al. 2022,
arXiv:2205.14135, sections 3.1 and B.4, here in products of PyTorch).

Shape suffixes: B heads of texts of one length, R tokens of each that ask, K tokens that each sees, D width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch

from finewright.models.attention import tracing
from finewright.models.kernels import DropoutMask

ROWS = {"cpu": 64, "cuda": 512}
"""Tokens of a tile that ask, by device: of a causal text what lies beyond them is not computed. What dropout drops can be drawn
again on these devices; on others texts are not looked at in tiles."""
NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Scores of a tile, about: 1 MB in a core's own cache; a GPU wants larger products (a quarter of a GB on the way back)."""


@dataclass(frozen=True)
class MaskSpec:
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

    def num_scores(self) -> int:
        """Rows times keys of all heads."""
        return prod(one.stop - one.start for one in (self.heads, self.rows, self.keys))


def attend(
    query_BRD: torch.Tensor, key_BKD: torch.Tensor, value_BKD: torch.Tensor, *, sight: MaskSpec, scale: float, dropout: float
) -> torch.Tensor:
    """What each token that asks has seen, (B, R, D): the last ones of a causal text, of another any. Softmax is in float32."""
    return _Attention.apply(query_BRD, key_BKD, value_BKD, sight, scale, dropout)  # type: ignore[no-any-return]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913  as `attend`
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sight: MaskSpec, scale: float, dropout: float
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.sight, ctx.scale, ctx.drawn = sight, scale, DropoutMask(dropout, query.device)
        seen = query.new_empty(*query.shape[:2], value.shape[2])
        for tile in tracing.representative(_tiles(query, key, sight), size=_Tile.num_scores):
            tile.asking(seen).copy_(_seen(tile, query, key, value, scale=scale, drawn=ctx.drawn))
        return seen.mul_(ctx.drawn.weight) if ctx.drawn.drops else seen

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, drawn = ctx.saved_tensors, ctx.drawn.again()
        given = gradients[0] * drawn.weight if drawn.drops else gradients[0]
        back = [torch.zeros_like(one) for one in states]
        for tile in tracing.representative(_tiles(states[0], states[1], ctx.sight), size=_Tile.num_scores):
            _look_back(tile, given, states, back, scale=ctx.scale, drawn=drawn)
        return back[0].mul_(ctx.scale), back[1], back[2], None, None, None


def _shares(tile: _Tile, query_BRD: torch.Tensor, key_BKD: torch.Tensor, *, scale: float) -> torch.Tensor:
    """How much each row of a tile takes of each key, in float32."""
    asking, turned = tile.asking(query_BRD), tile.seen(key_BKD).transpose(1, 2)
    scores = torch.bmm(asking, turned).mul_(scale) if tile.mask is None else torch.baddbmm(tile.mask, asking, turned, alpha=scale)
    return scores.softmax(dim=-1, dtype=torch.float32)


def _seen(  # noqa: PLR0913  three states and how they meet
    tile: _Tile, query_BRD: torch.Tensor, key_BKD: torch.Tensor, value_BKD: torch.Tensor, *, scale: float, drawn: DropoutMask
) -> torch.Tensor:
    """What a tile's rows see, before it is weighed for what was dropped."""
    shares = _shares(tile, query_BRD, key_BKD, scale=scale).to(value_BKD.dtype)
    if drawn.drops:
        shares.mul_(drawn.kept(shares))
    return torch.bmm(shares, tile.seen(value_BKD))


def _look_back(  # noqa: PLR0913  as `_seen`, and where what comes back is put
    tile: _Tile,
    given_BRD: torch.Tensor,
    states: Sequence[torch.Tensor],
    back: Sequence[torch.Tensor],
    *,
    scale: float,
    drawn: DropoutMask,
) -> None:
    """Add a tile's gradients of queries (not yet scaled), keys and values to `back`."""
    query_BRD, key_BKD, value_BKD = states
    shares, given = _shares(tile, query_BRD, key_BKD, scale=scale), tile.asking(given_BRD)
    back_shares, used = torch.bmm(given, tile.seen(value_BKD).transpose(1, 2)), shares.to(given.dtype)
    if drawn.drops:
        kept = drawn.kept(used)
        back_shares.mul_(kept)
        used = kept.mul_(used)
    _add(tile.seen(back[2]), used.transpose(1, 2), given)
    back_scores = torch.ops.aten._softmax_backward_data(back_shares.float(), shares, 2, torch.float32).to(given.dtype)
    _add(tile.asking(back[0]), back_scores, tile.seen(key_BKD))
    _add(tile.seen(back[1]), back_scores.transpose(1, 2), tile.asking(query_BRD), scale=scale)


def _add(to: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, scale: float = 1.0) -> None:
    """Add a product in place."""
    torch.baddbmm(to, left, right, alpha=scale, out=to)


def _tiles(query_BRD: torch.Tensor, key_BKD: torch.Tensor, sight: MaskSpec) -> list[_Tile]:
    (num_heads, num_rows, _), num_keys, device = query_BRD.shape, key_BKD.shape[1], query_BRD.device
    high = min(num_rows, ROWS[device.type])
    wide = max(1, NUMBERS[device.type] // (high * num_keys))
    most = num_keys - 1  # no row has more keys before its own
    whole = mask_of(high, most, window=sight.window, device=device).to(query_BRD.dtype) if sight.causal else None
    tiles = []
    for head, row in product(range(0, num_heads, wide), range(0, num_rows, high)):
        rows, keys, mask = slice(row, min(row + high, num_rows)), slice(0, num_keys), None
        if whole is not None:
            before = num_keys - num_rows + row  # keys before the first row's own
            keys = slice(0 if sight.window is None else max(0, before + 1 - sight.window), before + rows.stop - row)
            mask = whole[: rows.stop - row, most - before + keys.start : most + rows.stop - row]
        tiles.append(_Tile(slice(head, min(head + wide, num_heads)), rows, keys, mask))
    return tiles


def mask_of(num_rows: int, before: int, *, window: int | None, device: torch.device) -> torch.Tensor:
    """What is added to scores, (num_rows, before + num_rows): -inf where a token may not look."""
    blocked = torch.ones(num_rows, before + num_rows, dtype=torch.bool, device=device).triu(before + 1)
    if window is not None:  # a query sees its own token and the window - 1 before it
        blocked |= torch.ones_like(blocked).tril(before - window)
    return torch.zeros(blocked.shape, device=device).masked_fill_(blocked, float("-inf"))
