"""FlashAttention's operator for CPUs, from its definition: PyTorch has it for GPUs only.

Shape suffixes: Q queries, K keys, A heads, D width of a head.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _probabilities(query_QAD, key_KAD, *, causal, scale, window):
    """Attention probabilities of one text, whose last tokens have queries; (A, Q, K)."""
    own = torch.arange(len(query_QAD))[:, None] + len(key_KAD) - len(query_QAD)
    other = torch.arange(len(key_KAD))[None]
    left, right = (-1 if side is None else side for side in window)
    seen = torch.ones(len(query_QAD), len(key_KAD), dtype=torch.bool)
    if causal or right >= 0:
        seen &= other <= own + (0 if causal else right)
    if left >= 0:
        seen &= other >= own - left
    scores = torch.einsum("qad,kad->aqk", query_QAD, key_KAD) * scale
    return scores.masked_fill(~seen, float("-inf")).softmax(-1)


def _texts(  # noqa: PLR0913, PLR0917  as the operator
    query, key, value, ends_q, ends_k, longest, dropout, causal, seed, scale, window
):
    """Yield for each text the slices of its queries and keys, its states, its probabilities, and its dropout mask."""
    assert (ends_q.dtype, ends_k.dtype) == (torch.int32, torch.int32)
    assert longest == tuple(int(ends.diff().max()) for ends in (ends_q, ends_k))
    assert (int(ends_q[-1]), int(ends_k[-1])) == (len(query), len(key)), "every token is some text's"
    generator, repeats = torch.Generator().manual_seed(int(seed[0])), query.shape[1] // key.shape[1]
    key, value = (one.float().repeat_interleave(repeats, 1) for one in (key, value))
    for number in range(len(ends_q) - 1):
        queries, seen = (slice(*ends[number : number + 2].tolist()) for ends in (ends_q, ends_k))
        q, k, v = query[queries].float(), key[seen], value[seen]
        probabilities = _probabilities(q, k, causal=causal, scale=scale, window=window)
        mask = (torch.rand(probabilities.shape, generator=generator) >= dropout).float() / (1 - dropout)
        yield queries, seen, (q, k, v), probabilities, mask


def forward(  # noqa: PLR0913, PLR0917  the operator's signature
    query, key, value, ends_q, ends_k, max_q, max_k, dropout, causal, debug, *, scale=None, **window
):
    """As aten::_flash_attention_forward."""
    assert not debug
    seed = torch.randint(0, 1 << 30, (2,)).to(torch.uint64)
    sides, made = (window.get("window_size_left"), window.get("window_size_right")), torch.empty_like(query)
    for queries, _, (_, _, v), probabilities, mask in _texts(
        query, key, value, ends_q, ends_k, (max_q, max_k), dropout, causal, seed, scale, sides
    ):
        made[queries] = torch.einsum("aqk,kad->qad", probabilities * mask, v).to(made.dtype)
    return made, torch.zeros(query.shape[1], len(query)), seed, torch.zeros((), dtype=torch.uint64), query.new_empty(0)


def backward(  # noqa: PLR0913, PLR0917  the operator's signature
    given, query, key, value, out, sums, ends_q, ends_k, max_q, max_k, dropout, causal, seed, offset, *, scale=None, **window
):
    """As aten::_flash_attention_backward."""
    sides = (window.get("window_size_left"), window.get("window_size_right"))
    back_q = torch.zeros(query.shape)
    back_k, back_v = (torch.zeros(len(key), *query.shape[1:]) for _ in range(2))
    for queries, seen, (q, k, v), probabilities, mask in _texts(
        query, key, value, ends_q, ends_k, (max_q, max_k), dropout, causal, seed, scale, sides
    ):
        g = given[queries].float()
        back_v[seen] = torch.einsum("aqk,qad->kad", probabilities * mask, g)
        back_probabilities = torch.einsum("qad,kad->aqk", g, v) * mask
        back_scores = probabilities * (back_probabilities - (back_probabilities * probabilities).sum(-1, keepdim=True)) * scale
        back_q[queries] = torch.einsum("aqk,kad->qad", back_scores, k)
        back_k[seen] = torch.einsum("aqk,qad->kad", back_scores, q)
    own = (key.shape[1], query.shape[1] // key.shape[1])  # key heads, and query heads of each
    back_k, back_v = (one.unflatten(1, own).sum(2) for one in (back_k, back_v))
    return back_q.to(query.dtype), back_k.to(key.dtype), back_v.to(value.dtype)


@contextmanager
def on_a_cpu(run_forward: Callable[..., Any] = forward) -> Iterator[None]:
    """Within this block the operator runs on a CPU. `run_forward`: its forward pass."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", run_forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    try:
        yield
    finally:
        library._destroy()
