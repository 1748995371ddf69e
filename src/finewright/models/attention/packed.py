"""Attention of packed rows: every text attends to itself alone.

Shape suffixes: T tokens of the row, A heads, N texts, P tokens of the prefix; of one length of texts B heads of all texts, Q
queries and L keys of each; D width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from finewright.data.layout import PackedLayout
from finewright.models.attention import tiled
from finewright.models.attention.tiled import MaskSpec
from finewright.models.kernels import dropout

NAME = "finewright_packed"
LONG = 128
"""Texts of so many tokens are tiled. For shorter ones computing scores twice costs more than saving them, and with a long prefix
so does copying the prefix's keys and values to each text, which tiles need."""
POOLED_ATTRIBUTE = "finewright_pooled"
"""Attribute of an attention module where only the pooled token of each text has a query: its `PooledLastLayer`."""


@dataclass(frozen=True)
class AttentionSpec:
    """How a row attends. `reads`: only the `first` or `last` token of each text is a query; None: all are.

    `softcap`: scores are squashed into its range by tanh before the softmax (Gemma 2); None: they are not. `sinks`: a further
    score of each head (A,), which takes part in the softmax and has no value (GPT-OSS).
    """

    reads: str | None
    mask: MaskSpec
    scale: float
    dropout: float
    softcap: float | None = None
    sinks: torch.Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the scores are softmaxed as they are, which is all that the faster kernels can do."""
        return self.softcap is None and self.sinks is None


Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, PackedLayout, AttentionSpec], torch.Tensor]
"""Attention of the texts of a row: query (A, T, D), keys and values with as many heads or fewer → (1, T, A, D), or (1, N, A, D)
with one query for each text."""


def attend_by_length(
    query_ATD: torch.Tensor, key_ATD: torch.Tensor, value_ATD: torch.Tensor, layout: PackedLayout, spec: AttentionSpec
) -> torch.Tensor:
    """`Attend` with one batched product per distinct length.

    For short texts on a CPU this is several times faster than a masked or fused kernel over the whole row.
    """
    device, dtype, prefix, reads = query_ATD.device, value_ATD.dtype, layout.prefix, spec.reads
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
            mask = _mask(layout, prefix, 0, spec=spec.mask, device=device)
            outputs.append(_attend(before[0], before[1], before[2], mask, spec=spec))
        for number, (count, length) in enumerate(layout.groups, start=1):
            q, k, v = (_split_texts(piece[number], count, length, dtype=working) for piece in pieces)
            if reads is None and spec.is_plain and length >= LONG and device.type in tiled.QUERIES_PER_TILE:
                if before is not None:
                    k, v = _with_prefix(before[1], k), _with_prefix(before[2], v)
                attended_BQD = tiled.attend(q, k, v, mask=spec.mask, scale=spec.scale, dropout=spec.dropout)
            else:
                mask = _mask(layout, length, prefix, spec=spec.mask, device=device)
                if reads is not None:
                    row = 0 if reads == "first" else length - 1
                    q, mask = q[:, row : row + 1], None if mask is None else mask[row : row + 1]
                attended_BQD = _attend(q, k, v, mask, spec=spec, prefix=before)
            outputs.append(attended_BQD.view(query_ATD.shape[0], -1, value_ATD.shape[2]))
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
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    attend: Attend = attend_by_length,
    **_: Any,  # transformers passes arguments of other attention functions too
) -> tuple[torch.Tensor, None]:
    """Attention inside each text only; query (1, A, T, D) → (1, T, A, D). `s_aux`: transformers' name of the sinks."""
    assert layout is not None, "packed attention needs the layout of its row"
    assert query.shape[0] == 1, "packed attention runs over one row"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mask = MaskSpec(bool(getattr(module, "is_causal", False) if is_causal is None else is_causal), sliding_window)
    pooled_last_layer = getattr(module, POOLED_ATTRIBUTE, None)
    reads = pooled_last_layer.reads if pooled_last_layer is not None and pooled_last_layer.active else None
    spec = AttentionSpec(reads, mask, scale, dropout, softcap=softcap, sinks=s_aux)
    attended = attend(query[0], key[0], value[0], layout, spec)
    if pooled_last_layer is None or reads is None:
        return attended, None
    pooled_last_layer.attended = attended
    return attended.new_zeros(1, 1, 1, 1).expand(1, query.shape[2], *attended.shape[2:]), None


def _split_texts(states_ATD: torch.Tensor, count: int, length: int, *, dtype: torch.dtype) -> torch.Tensor:
    """States of texts of one length, by head and text, shape (A · count, length, D)."""
    states = states_ATD.unflatten(1, (count, length)).to(dtype, memory_format=torch.contiguous_format)
    return states.reshape(-1, length, states_ATD.shape[2])


def _with_prefix(prefix_APD: torch.Tensor, states_BLD: torch.Tensor) -> torch.Tensor:
    """The shared prefix's states before those of every text, (B, P + L, D)."""
    num_texts = len(states_BLD) // len(prefix_APD)
    return torch.cat([prefix_APD.repeat_interleave(num_texts, dim=0), states_BLD], dim=1)


def _attend(  # noqa: PLR0913  three states and how they meet
    query_BQD: torch.Tensor,
    key_BLD: torch.Tensor,
    value_BLD: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    spec: AttentionSpec,
    prefix: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Plain attention of equally long texts, each with the shared prefix before it."""
    num_queries, length, width = query_BQD.shape[1], key_BLD.shape[1], key_BLD.shape[2]
    scores = torch.bmm(query_BQD, key_BLD.transpose(1, 2))
    if prefix is not None:
        queries = query_BQD.reshape(len(prefix[1]), -1, width)
        scores = torch.cat([torch.bmm(queries, prefix[1].transpose(1, 2)).view(len(query_BQD), num_queries, -1), scores], dim=2)
    if spec.is_plain:
        scores = scores * spec.scale if mask is None else torch.add(mask, scores, alpha=spec.scale)
        probabilities = scores.softmax(dim=-1, dtype=torch.float32).to(value_BLD.dtype)
    else:
        probabilities = _uncommon_probabilities(scores, mask, spec=spec).to(value_BLD.dtype)
    if spec.dropout > 0:
        probabilities = dropout(probabilities, spec.dropout)
    if prefix is None:
        return torch.bmm(probabilities, value_BLD)
    before, own = probabilities.split([probabilities.shape[2] - length, length], dim=2)
    from_prefix = torch.bmm(before.reshape(len(prefix[1]), -1, before.shape[2]), prefix[2])
    return torch.bmm(own, value_BLD) + from_prefix.view(len(query_BQD), num_queries, -1)


def _uncommon_probabilities(scores_BQL: torch.Tensor, mask: torch.Tensor | None, *, spec: AttentionSpec) -> torch.Tensor:
    """Probabilities, float32, with capped scores or with sinks."""
    scores_BQL = scores_BQL.float() * spec.scale
    if spec.softcap is not None:
        scores_BQL = torch.tanh(scores_BQL / spec.softcap) * spec.softcap
    if mask is not None:
        scores_BQL = scores_BQL + mask
    if spec.sinks is None:
        return scores_BQL.softmax(dim=-1)
    sinks_B = spec.sinks.float().repeat_interleave(len(scores_BQL) // len(spec.sinks))
    sinks_BQ1 = sinks_B[:, None, None].expand(-1, scores_BQL.shape[1], 1)
    return torch.cat([scores_BQL, sinks_BQ1], dim=-1).softmax(dim=-1)[..., :-1]


def _no_mask(*_: Any, **__: Any) -> None:
    """Build no mask: the layout tells which text a token belongs to, and a mask over the whole row would be T × T."""


def register(name: str = NAME, attend: Attend = attend_by_length) -> None:
    """Register an attention function with transformers under a name; calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(name, partial(packed_attention, attend=attend))
    AttentionMaskInterface.register(name, _no_mask)


def _mask(layout: PackedLayout, length: int, prefix: int, *, spec: MaskSpec, device: torch.device) -> torch.Tensor | None:
    """What is added to the scores of a text behind `prefix` tokens, shape (L, P + L); None where every token sees all.

    It is built once for all layers that get the layout.
    """
    key = (length, prefix, spec, device)
    if key not in layout.kept:
        whole = tiled.build_mask(length, prefix, spec=spec, device=device) if spec.hides else None
        layout.kept[key] = None if whole is None else whole[:, : prefix + length]
    return layout.kept[key]  # type: ignore[no-any-return]
