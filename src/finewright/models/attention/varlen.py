"""Attention of all texts of a row in one kernel of a GPU, each text by where it begins and ends.

The kernel is PyTorch's own FlashAttention (Dao 2023, arXiv:2307.08691); it keeps no scores. Its operator is not public, so it
is tried before it is trusted, and where it is missing or wrong attention goes length by length as on a CPU.

Shape suffixes: T tokens of the row, A heads, D width of a head, R tokens that ask, K tokens that are seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch

from finewright.data.layout import PackedLayout
from finewright.models.attention import packed
from finewright.models.attention.packed import AttentionSpec, attend_by_length
from finewright.models.attention.tiled import MaskSpec

NAME = "finewright_at_once"
"""Without "flash": transformers would look for a package of that name."""
DTYPES = (torch.bfloat16, torch.float16)
WIDTHS = range(8, 257, 8)
"""Of a head, that the kernel takes."""
TRIED_LENGTHS, TRIED_PREFIX, TRIED_SHARE = (1, 3, 3, 70, 130), 5, 0.25
SLACK = 0.03
"""What states of size 1 may differ by in bfloat16, which rounds to a 256th: shares, what they are taken of, and the outcome."""


@dataclass(frozen=True)
class _Spans:
    """Which tokens ask and which are seen, text by text. `rows_*`: of the row, None for all of it as it stands; `ends_*`: where
    the first text begins and each one ends among them, shape (N + 1,), int32; `longest_*`: most of one text."""

    rows_asking: torch.Tensor | None
    rows_seen: torch.Tensor | None
    ends_asking: torch.Tensor
    ends_seen: torch.Tensor
    longest_asking: int
    longest_seen: int


def attend(
    query_ATD: torch.Tensor, key_ATD: torch.Tensor, value_ATD: torch.Tensor, layout: PackedLayout, asked: AttentionSpec
) -> torch.Tensor:
    """`attention.Attend`, one kernel; states in a dtype that it does not take go length by length."""
    reads, sight = asked.reads, asked.sight
    ahead = reads == "first" and sight.causal  # the kernel lets the tokens that ask be the last ones of their text
    if value_ATD.dtype not in DTYPES or ahead:
        return attend_by_length(query_ATD, key_ATD, value_ATD, layout, asked)
    key = (NAME, reads, query_ATD.device)
    if key not in layout.kept:
        layout.kept[key] = _spans(layout, reads, query_ATD.device)
    spans: _Spans = layout.kept[key]
    query_TAD, key_TAD, value_TAD = (states.transpose(0, 1).to(value_ATD.dtype) for states in (query_ATD, key_ATD, value_ATD))
    asking = query_TAD if spans.rows_asking is None else query_TAD[spans.rows_asking]
    seen = [one if spans.rows_seen is None else one[spans.rows_seen] for one in (key_TAD, value_TAD)]
    window = {}
    if sight.causal and sight.window is not None:  # a query sees its own token and the window - 1 before it
        window = {"window_size_left": sight.window - 1, "window_size_right": 0}
    attended_RAD = torch.ops.aten._flash_attention_forward(
        asking,
        *seen,
        spans.ends_asking,
        spans.ends_seen,
        spans.longest_asking,
        spans.longest_seen,
        asked.dropout,
        sight.causal,
        False,  # noqa: FBT003  no mask to look at
        scale=asked.scale,
        **window,
    )[0]
    return attended_RAD.unsqueeze(0)


def _spans(layout: PackedLayout, reads: str | None, device: torch.device) -> _Spans:
    """A prefix is a text of its own, and stands before every other text once more among what is seen."""
    lengths, prefix = layout.lengths, layout.prefix
    seen = [prefix + length for length in lengths]
    asking, rows_asking = list(lengths), None
    if reads is not None:
        asking, rows_asking = [1] * len(lengths), (layout.first if reads == "first" else layout.last).to(device)
    rows_seen = None
    if prefix:
        before, texts = torch.arange(prefix), torch.arange(prefix, prefix + sum(lengths)).split(list(lengths))
        parts = [part for text in texts for part in (before, text)]
        if reads is None:
            asking, seen, parts = [prefix, *asking], [prefix, *seen], [before, *parts]
        rows_seen = torch.cat(parts).to(device)
    return _Spans(rows_asking, rows_seen, _ends(asking, device), _ends(seen, device), max(asking), max(seen))


def _ends(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


@cache
def is_usable(width: int, *, device: str = "cuda") -> bool:
    """Whether the kernel is there for heads of this width and right: tried on a few short texts, there and back."""
    if width not in WIDTHS:
        return False
    try:
        with torch.inference_mode(mode=False), torch.enable_grad(), torch.random.fork_rng(devices=[device] * (device == "cuda")):
            return all(_right(width, device)) and _drops_alike(width, device)
    except (AttributeError, AssertionError, NotImplementedError, RuntimeError, TypeError):
        return False


def _right(width: int, device: str) -> Iterator[bool]:
    """For every kind of row, whether outcome and gradients are those of plain products."""
    causal, whole = MaskSpec(causal=True), MaskSpec(causal=False)
    cases = [(sight, reads, 0) for sight in (whole, causal, MaskSpec(causal=True, window=2)) for reads in (None, "last")]
    cases += [(whole, "first", 0), (causal, None, TRIED_PREFIX), (causal, "last", TRIED_PREFIX)]
    for sight, reads, prefix in cases:
        layout = PackedLayout(TRIED_LENGTHS, prefix=prefix)
        states = _states(layout, width, device)
        query, key, value = states
        asked = AttentionSpec(reads, sight, scale=width**-0.5, dropout=0.0)
        plainly = attend_by_length(query.float(), key.float(), value.float(), layout, asked)
        weights = torch.linspace(-1, 1, plainly.numel(), device=device).view_as(plainly)
        wanted = [plainly, *torch.autograd.grad((plainly * weights).sum(), states)]
        at_once = attend(query, key, value, layout, asked)
        found = [at_once, *torch.autograd.grad((at_once * weights).sum(), states)]
        yield all(
            torch.allclose(one.float(), two.float(), atol=SLACK, rtol=SLACK) for one, two in zip(found, wanted, strict=True)
        )


def _drops_alike(width: int, device: str) -> bool:
    """Whether something is dropped, the rest made up for it, and on the way back the same: with values of 1, what goes back to
    them is what came out, in every column under other signs."""
    layout = PackedLayout(TRIED_LENGTHS)
    query, key, value = _states(layout, width, device)
    with torch.no_grad():
        value.fill_(1)
    asked = AttentionSpec(None, MaskSpec(causal=False), scale=width**-0.5, dropout=TRIED_SHARE)
    seen_TAD = attend(query, key, value, layout, asked)[0].float()
    signs_TAD = torch.randn(seen_TAD.shape, generator=torch.Generator().manual_seed(width)).sign().to(device)
    out_TAD = seen_TAD * signs_TAD
    back = torch.autograd.grad(out_TAD.sum(), value)[0].float().sum(1)
    there = out_TAD.detach().sum(0).unflatten(0, (len(value), -1)).sum(1)  # of all heads that see the same values
    near = SLACK * len(signs_TAD) ** 0.5  # errors of a sum of signs grow as its root
    drops = float(seen_TAD.detach().std()) > TRIED_SHARE / 4 and abs(float(seen_TAD.detach().mean()) - 1) < TRIED_SHARE / 2
    return drops and torch.allclose(back, there, atol=near, rtol=0)


def _states(layout: PackedLayout, width: int, device: str) -> list[torch.Tensor]:
    """Four heads that ask, two that are seen."""
    drawn, rows = torch.Generator().manual_seed(width), layout.prefix + sum(layout.lengths)
    states = (torch.randn(heads, rows, width, generator=drawn) for heads in (4, 2, 2))
    return [one.to(device, torch.bfloat16).requires_grad_() for one in states]


def register() -> None:
    """Make `NAME` known to transformers."""
    packed.register(NAME, attend)
