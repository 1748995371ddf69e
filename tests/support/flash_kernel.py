"""FlashAttention's operator for CPUs, from its definition: PyTorch has it for GPUs only.

Shape suffixes: R tokens that ask, K tokens that are seen, A heads, D width of a head.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _shares(query_RAD, key_KAD, *, causal, scale, window):
    """Of one text the last tokens ask; (A, R, K)."""
    own = torch.arange(len(query_RAD))[:, None] + len(key_KAD) - len(query_RAD)
    other = torch.arange(len(key_KAD))[None]
    left, right = (-1 if side is None else side for side in window)
    seen = torch.ones(len(query_RAD), len(key_KAD), dtype=torch.bool)
    if causal or right >= 0:
        seen &= other <= own + (0 if causal else right)
    if left >= 0:
        seen &= other >= own - left
    scores = torch.einsum("rad,kad->ark", query_RAD, key_KAD) * scale
    return scores.masked_fill(~seen, float("-inf")).softmax(-1)


def _texts(  # noqa: PLR0913, PLR0917  as the operator
    query, key, value, ends_q, ends_k, longest, dropout, causal, seed, scale, window
):
    """Of each text: where it lies among what asks and what is seen, its states, its shares, and by what those are multiplied."""
    assert (ends_q.dtype, ends_k.dtype) == (torch.int32, torch.int32)
    assert longest == tuple(int(ends.diff().max()) for ends in (ends_q, ends_k))
    assert (int(ends_q[-1]), int(ends_k[-1])) == (len(query), len(key)), "every token is some text's"
    drawn, repeats = torch.Generator().manual_seed(int(seed[0])), query.shape[1] // key.shape[1]
    key, value = (one.float().repeat_interleave(repeats, 1) for one in (key, value))
    for number in range(len(ends_q) - 1):
        asking, seen = (slice(*ends[number : number + 2].tolist()) for ends in (ends_q, ends_k))
        q, k, v = query[asking].float(), key[seen], value[seen]
        shares = _shares(q, k, causal=causal, scale=scale, window=window)
        kept = (torch.rand(shares.shape, generator=drawn) >= dropout).float() / (1 - dropout)
        yield asking, seen, (q, k, v), shares, kept


def forward(  # noqa: PLR0913, PLR0917  the operator's signature
    query, key, value, ends_q, ends_k, max_q, max_k, dropout, causal, debug, *, scale=None, **window
):
    """As aten::_flash_attention_forward."""
    assert not debug
    seed = torch.randint(0, 1 << 30, (2,)).to(torch.uint64)
    sides, made = (window.get("window_size_left"), window.get("window_size_right")), torch.empty_like(query)
    for asking, _, (_, _, v), shares, kept in _texts(
        query, key, value, ends_q, ends_k, (max_q, max_k), dropout, causal, seed, scale, sides
    ):
        made[asking] = torch.einsum("ark,kad->rad", shares * kept, v).to(made.dtype)
    return made, torch.zeros(query.shape[1], len(query)), seed, torch.zeros((), dtype=torch.uint64), query.new_empty(0)


def backward(  # noqa: PLR0913, PLR0917  the operator's signature
    given, query, key, value, out, sums, ends_q, ends_k, max_q, max_k, dropout, causal, seed, offset, *, scale=None, **window
):
    """As aten::_flash_attention_backward."""
    sides = (window.get("window_size_left"), window.get("window_size_right"))
    back_q = torch.zeros(query.shape)
    back_k, back_v = (torch.zeros(len(key), *query.shape[1:]) for _ in range(2))
    for asking, seen, (q, k, v), shares, kept in _texts(
        query, key, value, ends_q, ends_k, (max_q, max_k), dropout, causal, seed, scale, sides
    ):
        g = given[asking].float()
        back_v[seen] = torch.einsum("ark,rad->kad", shares * kept, g)
        back_shares = torch.einsum("rad,kad->ark", g, v) * kept
        back_scores = shares * (back_shares - (back_shares * shares).sum(-1, keepdim=True)) * scale
        back_q[asking] = torch.einsum("ark,kad->rad", back_scores, k)
        back_k[seen] = torch.einsum("ark,rad->kad", back_scores, q)
    own = (key.shape[1], query.shape[1] // key.shape[1])  # heads that are seen, and those that ask each of them
    back_k, back_v = (one.unflatten(1, own).sum(2) for one in (back_k, back_v))
    return back_q.to(query.dtype), back_k.to(key.dtype), back_v.to(value.dtype)


@contextmanager
def on_a_cpu(there: Callable[..., Any] = forward) -> Iterator[None]:
    """Inside, the operator runs on a CPU. `there`: what it does on the way there."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", there, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    try:
        yield
    finally:
        library._destroy()
