"""Attention of all texts of a row in one kernel of a GPU, which gets the start and end of every text.

The kernel is PyTorch's own FlashAttention (Dao 2023, arXiv:2307.08691); it saves no scores. Its operator is not public, so it
is tested before it is used; where it is missing or wrong, attention runs length by length as on a CPU.

Shape suffixes: T tokens of the row, A heads, D width of a head, Q queries, K keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch

from finewright.data.layout import PackedLayout
from finewright.models import torch_compat
from finewright.models.attention import packed
from finewright.models.attention.packed import AttentionSpec, attend_by_length
from finewright.models.attention.tiled import MaskSpec

NAME = "finewright_at_once"
"""Without "flash": transformers would look for a package of that name."""
DTYPES = (torch.bfloat16, torch.float16)
WIDTHS = range(8, 257, 8)
"""Head widths that the kernel supports."""
TEST_LENGTHS, TEST_PREFIX, TEST_DROPOUT = (1, 3, 3, 70, 130), 5, 0.25
TOLERANCE = 0.03
"""Allowed difference of states of size 1 in bfloat16, which rounds to a 256th: probabilities, values and outputs."""


@dataclass(frozen=True)
class _Spans:
    """Which tokens are queries and keys of each text. `*_rows`: rows of the packed row, None for all in their order.

    `*_ends`: where the first text begins and each one ends among them, shape (N + 1,), int32. `max_*`: most of one text.
    """

    query_rows: torch.Tensor | None
    key_rows: torch.Tensor | None
    query_ends: torch.Tensor
    key_ends: torch.Tensor
    max_queries: int
    max_keys: int


def attend(
    query_ATD: torch.Tensor, key_ATD: torch.Tensor, value_ATD: torch.Tensor, layout: PackedLayout, spec: AttentionSpec
) -> torch.Tensor:
    """`packed.Attend` in one kernel; what the kernel does not support is computed length by length."""
    reads, mask = spec.reads, spec.mask
    unaligned = reads == "first" and mask.causal  # the kernel takes the queries for the last tokens of their text
    two_sided = mask.window is not None and not mask.causal
    narrow = value_ATD.shape[2] != query_ATD.shape[2]
    if value_ATD.dtype not in DTYPES or unaligned or two_sided or narrow or not spec.is_plain:
        return attend_by_length(query_ATD, key_ATD, value_ATD, layout, spec)
    cached = (NAME, reads, query_ATD.device)
    if cached not in layout.kept:
        layout.kept[cached] = _spans(layout, reads, query_ATD.device)
    spans: _Spans = layout.kept[cached]
    query_TAD, key_TAD, value_TAD = (states.transpose(0, 1).to(value_ATD.dtype) for states in (query_ATD, key_ATD, value_ATD))
    query = query_TAD if spans.query_rows is None else query_TAD[spans.query_rows]
    key, value = (states if spans.key_rows is None else states[spans.key_rows] for states in (key_TAD, value_TAD))
    attended_QAD = torch_compat.flash_attention(
        query,
        key,
        value,
        query_ends=spans.query_ends,
        key_ends=spans.key_ends,
        max_queries=spans.max_queries,
        max_keys=spans.max_keys,
        dropout=spec.dropout,
        is_causal=mask.causal,
        scale=spec.scale,
        window=mask.window if mask.causal else None,
    )
    return attended_QAD.unsqueeze(0)


def _spans(layout: PackedLayout, reads: str | None, device: torch.device) -> _Spans:
    """The prefix counts as a text of its own, and its keys are repeated before those of every text."""
    lengths, prefix = layout.lengths, layout.prefix
    num_keys = [prefix + length for length in lengths]
    num_queries, query_rows = list(lengths), None
    if reads is not None:
        num_queries, query_rows = [1] * len(lengths), (layout.first if reads == "first" else layout.last).to(device)
    key_rows = None
    if prefix:
        before, texts = torch.arange(prefix), torch.arange(prefix, prefix + sum(lengths)).split(list(lengths))
        parts = [part for text in texts for part in (before, text)]
        if reads is None:
            num_queries, num_keys, parts = [prefix, *num_queries], [prefix, *num_keys], [before, *parts]
        key_rows = torch.cat(parts).to(device)
    ends = _ends(num_queries, device), _ends(num_keys, device)
    return _Spans(query_rows, key_rows, *ends, max(num_queries), max(num_keys))


def _ends(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


@cache
def is_usable(width: int, *, device: str = "cuda") -> bool:
    """Whether the kernel supports heads of this width and is right, tested on a few short texts, forward and backward."""
    if width not in WIDTHS or not torch_compat.flash_attention_operators():
        return False
    try:
        with torch.inference_mode(mode=False), torch.enable_grad(), torch.random.fork_rng(devices=[device] * (device == "cuda")):
            return all(_is_right(width, device)) and _drops_alike(width, device)
    except (AttributeError, AssertionError, NotImplementedError, RuntimeError, TypeError):
        return False


def _is_right(width: int, device: str) -> Iterator[bool]:
    """For every kind of row, whether outputs and gradients are those of plain products."""
    causal, whole = MaskSpec(causal=True), MaskSpec(causal=False)
    cases = [(mask, reads, 0) for mask in (whole, causal, MaskSpec(causal=True, window=2)) for reads in (None, "last")]
    cases += [(whole, "first", 0), (causal, None, TEST_PREFIX), (causal, "last", TEST_PREFIX)]
    for mask, reads, prefix in cases:
        layout = PackedLayout(TEST_LENGTHS, prefix=prefix)
        states = _test_states(layout, width, device)
        query, key, value = states
        spec = AttentionSpec(reads, mask, scale=width**-0.5, dropout=0.0)
        plain = attend_by_length(query.float(), key.float(), value.float(), layout, spec)
        weights = torch.linspace(-1, 1, plain.numel(), device=device).view_as(plain)
        wanted = [plain, *torch.autograd.grad((plain * weights).sum(), states)]
        in_one_kernel = attend(query, key, value, layout, spec)
        found = [in_one_kernel, *torch.autograd.grad((in_one_kernel * weights).sum(), states)]
        yield all(
            torch.allclose(one.float(), two.float(), atol=TOLERANCE, rtol=TOLERANCE)
            for one, two in zip(found, wanted, strict=True)
        )


def _drops_alike(width: int, device: str) -> bool:
    """Whether dropout drops, scales the rest, and drops the same in the backward pass.

    With all values 1, the gradient of the values is what came out, weighted by each column's random signs.
    """
    layout = PackedLayout(TEST_LENGTHS)
    query, key, value = _test_states(layout, width, device)
    with torch.no_grad():
        value.fill_(1)
    spec = AttentionSpec(None, MaskSpec(causal=False), scale=width**-0.5, dropout=TEST_DROPOUT)
    attended_TAD = attend(query, key, value, layout, spec)[0].float()
    signs_TAD = torch.randn(attended_TAD.shape, generator=torch.Generator().manual_seed(width)).sign().to(device)
    out_TAD = attended_TAD * signs_TAD
    backward = torch.autograd.grad(out_TAD.sum(), value)[0].float().sum(1)
    forward = out_TAD.detach().sum(0).unflatten(0, (len(value), -1)).sum(1)  # over all heads with the same values
    tolerance = TOLERANCE * len(signs_TAD) ** 0.5  # the error of a sum of random signs grows with its root
    attended = attended_TAD.detach()
    drops = float(attended.std()) > TEST_DROPOUT / 4 and abs(float(attended.mean()) - 1) < TEST_DROPOUT / 2
    return drops and torch.allclose(backward, forward, atol=tolerance, rtol=0)


def _test_states(layout: PackedLayout, width: int, device: str) -> list[torch.Tensor]:
    """Random queries of four heads, keys and values of two."""
    generator, rows = torch.Generator().manual_seed(width), layout.prefix + sum(layout.lengths)
    states = (torch.randn(heads, rows, width, generator=generator) for heads in (4, 2, 2))
    return [tensor.to(device, torch.bfloat16).requires_grad_() for tensor in states]


def register() -> None:
    """Make `NAME` known to transformers."""
    packed.register(NAME, attend)
