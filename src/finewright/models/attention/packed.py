"""Attention of packed rows: every text attends to itself alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from finewright.data.layout import PackedLayout
from finewright.models.attention import tiled
from finewright.models.attention.tiled import MaskSpec
from finewright.models.kernels import dropout as drop

NAME = "finewright_packed"
LONG = 128
"""Tokens of its own from which on a text is looked at in tiles. For shorter ones computing scores twice costs more than keeping
them, and behind a long prefix so do the prefix's keys and values, which tiles want beside each text's own."""
NARROW = "finewright_narrow"
"""Attribute of an attention module that is asked by one token of each text only; see `narrow`."""


@dataclass(frozen=True)
class AttentionSpec:
    """How a row is looked at. `reads`: only the `first` or `last` token of each text asks; None: all do. `dropout`: share."""

    reads: str | None
    sight: MaskSpec
    scale: float
    dropout: float


Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, PackedLayout, AttentionSpec], torch.Tensor]
"""Attends to the texts of a row: query (A, T, D), keys and values of as many heads or fewer → (1, T, A, D), or (1, N, A, D) where
one token of each text asks."""


def attend_by_length(
    query_ATD: torch.Tensor, key_ATD: torch.Tensor, value_ATD: torch.Tensor, layout: PackedLayout, asked: AttentionSpec
) -> torch.Tensor:
    """`Attend`, one batched product per distinct length.

    For short texts on a CPU this is several times faster than a masked or fused kernel over the whole row.
    """
    device, dtype, prefix = query_ATD.device, value_ATD.dtype, layout.prefix
    reads, sight, scale, dropout = asked.reads, asked.sight, asked.scale, asked.dropout
    num_repeats = len(query_ATD) // len(key_ATD)
    if num_repeats > 1:  # grouped-query attention
        key_ATD, value_ATD = (states.repeat_interleave(num_repeats, dim=0) for states in (key_ATD, value_ATD))
    # oneDNN compiles a bfloat16 product for every new shape, and every length is one
    working = torch.float32 if device.type == "cpu" else dtype
    sizes = [prefix, *(count * length for count, length in layout.groups)]
    pieces = [x.split(sizes, dim=1) for x in (query_ATD, key_ATD, value_ATD)]
    before = [piece[0].to(working) for piece in pieces] if prefix else None
    outputs = []
    with torch.autocast(device.type, enabled=False):
        if before is not None and reads is None:
            mask = _mask(layout, prefix, 0, sight=sight, device=device)
            outputs.append(_attend(before[0], before[1], before[2], mask, scale=scale, dropout=dropout))
        for number, (count, length) in enumerate(layout.groups, start=1):
            q, k, v = (_texts(piece[number], count, length, dtype=working) for piece in pieces)
            if reads is None and length >= LONG and device.type in tiled.ROWS:
                if before is not None:
                    k, v = _behind(before[1], k), _behind(before[2], v)
                attended_BRD = tiled.attend(q, k, v, sight=sight, scale=scale, dropout=dropout)
            else:
                mask = _mask(layout, length, prefix, sight=sight, device=device)
                if reads is not None:
                    row = 0 if reads == "first" else length - 1
                    q, mask = q[:, row : row + 1], None if mask is None else mask[row : row + 1]
                attended_BRD = _attend(q, k, v, mask, scale=scale, dropout=dropout, prefix=before)
            outputs.append(attended_BRD.view(query_ATD.shape[0], -1, query_ATD.shape[2]))
    return torch.cat(outputs, dim=1).transpose(0, 1).unsqueeze(0).to(dtype)


def packed_attention(  # noqa: PLR0913  the signature is transformers' own
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: PackedLayout | None = None,
    sliding_window: int | None = None,
    attend: Attend = attend_by_length,
    **_: Any,  # transformers hands every attention function its own extras
) -> tuple[torch.Tensor, None]:
    """Attention inside each text only; query (1, A, T, D) → (1, T, A, D)."""
    assert layout is not None, "packed attention needs the layout of its row"
    assert query.shape[0] == 1, "packed attention wants one row"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    sight = MaskSpec(bool(getattr(module, "is_causal", False)), sliding_window)
    narrow = getattr(module, NARROW, None)
    reads = narrow.reads if narrow is not None and narrow.active else None
    attended = attend(query[0], key[0], value[0], layout, AttentionSpec(reads, sight, scale, dropout))
    if narrow is None or reads is None:
        return attended, None
    narrow.attended = attended
    return attended.new_zeros(1, 1, 1, 1).expand(1, query.shape[2], *attended.shape[2:]), None


def _texts(states_ATD: torch.Tensor, count: int, length: int, *, dtype: torch.dtype) -> torch.Tensor:
    """The texts of one length, each head of each text for itself, shape (A · count, length, D)."""
    parted = states_ATD.unflatten(1, (count, length)).to(dtype, memory_format=torch.contiguous_format)
    return parted.reshape(-1, length, states_ATD.shape[2])


def _behind(prefix_APD: torch.Tensor, states_BLD: torch.Tensor) -> torch.Tensor:
    """Every text's states with the shared prefix's before them, (B, P + L, D)."""
    num_texts = len(states_BLD) // len(prefix_APD)
    return torch.cat([prefix_APD.repeat_interleave(num_texts, dim=0), states_BLD], dim=1)


def _attend(  # noqa: PLR0913  three states and how they meet
    query_BRD: torch.Tensor,
    key_BLD: torch.Tensor,
    value_BLD: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    scale: float,
    dropout: float,
    prefix: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Plain attention of equally long texts, each with the shared prefix before it."""
    num_asking, length, width = query_BRD.shape[1], key_BLD.shape[1], key_BLD.shape[2]
    scores = torch.bmm(query_BRD, key_BLD.transpose(1, 2))
    if prefix is not None:
        asking = query_BRD.reshape(len(prefix[1]), -1, width)
        scores = torch.cat([torch.bmm(asking, prefix[1].transpose(1, 2)).view(len(query_BRD), num_asking, -1), scores], dim=2)
    scores = scores * scale if mask is None else torch.add(mask, scores, alpha=scale)
    shares = scores.softmax(dim=-1, dtype=torch.float32).to(value_BLD.dtype)
    if dropout > 0:
        shares = drop(shares, dropout)
    if prefix is None:
        return torch.bmm(shares, value_BLD)
    before, own = shares.split([shares.shape[2] - length, length], dim=2)
    from_prefix = torch.bmm(before.reshape(len(prefix[1]), -1, before.shape[2]), prefix[2])
    return torch.bmm(own, value_BLD) + from_prefix.view(len(query_BRD), num_asking, width)


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says who sees whom; a mask over the whole row would be T × T for nothing."""


def register(name: str = NAME, attend: Attend = attend_by_length) -> None:
    """Make a way of attending known to transformers under a name; calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(name, partial(packed_attention, attend=attend))
    AttentionMaskInterface.register(name, _no_mask)


def _mask(layout: PackedLayout, length: int, prefix: int, *, sight: MaskSpec, device: torch.device) -> torch.Tensor | None:
    """What is added to the scores of a text that sees `prefix` tokens before its own, shape (L, P + L).

    -inf where a token may not look; None when all may. Made once for all blocks that read the layout.
    """
    key = (length, prefix, sight, device)
    if key not in layout.kept:
        layout.kept[key] = tiled.mask_of(length, prefix, window=sight.window, device=device) if sight.causal else None
    return layout.kept[key]  # type: ignore[no-any-return]
