"""Attention in tiles: the same as PyTorch's own, forward and backward, with nothing saved of the scores' size."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from finewright.models.attention import tiled, tracing
from finewright.models.attention.tiled import MaskSpec
from finewright.planning.tracer import memory

SCALE = 0.3


@pytest.fixture
def small(monkeypatch):
    """Tiles of five queries and a few heads: a text of a dozen tokens has several, and the last ones are smaller."""
    monkeypatch.setitem(tiled.QUERIES_PER_TILE, "cpu", 5)
    monkeypatch.setitem(tiled.SCORES_PER_TILE, "cpu", 5 * 16 * 2)


def states(num_queries=13, num_keys=13, *, heads=5, width=8):
    generator = torch.Generator().manual_seed(num_queries + num_keys)
    sizes = ((num_queries, width), (num_keys, width), (num_keys, width))
    return [torch.randn(heads, *size, generator=generator).requires_grad_() for size in sizes]


def visible(num_queries, num_keys, mask):
    """Which keys each query sees, from the definition."""
    own = torch.arange(num_queries)[:, None] + num_keys - num_queries
    key = torch.arange(num_keys)[None]
    near = (key - own).abs() < (mask.window or num_keys + 1)
    return near & (key <= own) if mask.causal else near


def plain(query, key, value, mask, dropout_mask=None):
    """Attention over whole texts; `dropout_mask`: factors of the probabilities."""
    scores = query @ key.transpose(1, 2) * SCALE
    probabilities = scores.masked_fill(~visible(query.shape[1], key.shape[1], mask), float("-inf")).softmax(-1)
    return (probabilities if dropout_mask is None else probabilities * dropout_mask) @ value


MASKS = [MaskSpec(causal=False), MaskSpec(causal=True), MaskSpec(causal=True, window=4), MaskSpec(causal=True, window=1)]
MASKS += [MaskSpec(causal=False, window=4), MaskSpec(causal=False, window=1), MaskSpec(causal=False, window=30)]


@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("num_keys", [13, 16, 20])
@pytest.mark.usefixtures("small")
def test_outputs_and_gradients_equal_those_of_whole_texts(mask, num_keys):
    some = states(num_keys=num_keys)
    ours = tiled.attend(*some, mask=mask, scale=SCALE, dropout=0.0)
    expected = plain(*some, mask)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    found, wanted = (torch.autograd.grad((one * weights).sum(), some) for one in (ours, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-5)


def dropout_mask(some, mask, rate, seed=3):
    """The factor of each probability: with unit vectors as values the outputs are the probabilities."""
    query, key, _ = some
    ones = torch.eye(key.shape[1]).expand(len(key), -1, -1).contiguous()
    torch.manual_seed(seed)
    dropped = tiled.attend(query, key, ones, mask=mask, scale=SCALE, dropout=rate)
    whole = plain(query, key, ones, mask)
    return torch.where(whole > 0, dropped / whole, torch.zeros(())).detach()


@pytest.mark.parametrize("mask", MASKS[:3], ids=str)
@pytest.mark.usefixtures("small")
def test_the_backward_pass_has_the_same_dropout_mask(mask):
    some, rate = states(), 0.25
    factors = dropout_mask(some, mask, rate)
    assert 0 < int((factors == 0).sum()) < factors.numel()
    torch.manual_seed(3)
    ours = tiled.attend(*some, mask=mask, scale=SCALE, dropout=rate)
    state = torch.get_rng_state()
    expected = plain(*some, mask, dropout_mask=factors)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    found = torch.autograd.grad(ours.square().sum(), some)
    assert torch.equal(torch.get_rng_state(), state), "the backward pass takes nothing from PyTorch's own generator"
    for one, other in zip(found, torch.autograd.grad(expected.square().sum(), some), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.usefixtures("small")
def test_gradient_checkpointing_has_the_same_dropout_mask():
    some, options = states(), {"mask": MaskSpec(causal=True), "scale": SCALE, "dropout": 0.25}

    def gradients(run):
        torch.manual_seed(7)
        return torch.autograd.grad(run(*some).square().sum(), some)

    once = gradients(lambda *all_three: tiled.attend(*all_three, **options))
    twice = gradients(lambda *all_three: checkpoint(tiled.attend, *all_three, use_reentrant=False, **options))
    assert all(map(torch.equal, once, twice))


def test_no_scores_are_saved_for_the_backward_pass():
    saved = []
    some = states(300, 300, heads=2)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: saved.append(one.numel()) or one, lambda one: one):
        tiled.attend(*some, mask=MaskSpec(causal=True), scale=SCALE, dropout=0.1)
    assert saved == [2 * 300 * 8] * 3


def test_scores_of_later_tokens_are_not_computed():
    def flops(mask):
        with memory.without_memory() as ledger:
            tiled.attend(*(torch.empty(2, 640, 16) for _ in range(3)), mask=mask, scale=SCALE, dropout=0.0)
        return ledger.work.flops

    whole = flops(MaskSpec(causal=False))
    assert whole == 2 * 2 * 2 * 640 * 640 * 16
    assert flops(MaskSpec(causal=True)) == whole * 11 // 20, "ten tiles of which each sees one more than the one before"
    assert flops(MaskSpec(causal=True, window=64)) < whole / 4


@pytest.mark.parametrize("mask", MASKS[:3], ids=str)
def test_one_traced_tile_stands_for_all(mask, monkeypatch):
    def traced():
        with memory.without_memory() as ledger:
            some = [torch.empty(5, 300, 16).requires_grad_() for _ in range(3)]
            ledger.begin_anew()
            tiled.attend(*some, mask=mask, scale=SCALE, dropout=0.1).sum().backward()
            peak = ledger.peak({}, rest="all")["all"]
        return peak, ledger.work

    monkeypatch.setitem(tiled.SCORES_PER_TILE, "cpu", 64 * 300 * 2)
    peak, work = traced()
    monkeypatch.setattr(tracing, "representative", lambda pieces, size: iter(pieces))
    expected_peak, expected = traced()
    assert peak == expected_peak
    assert work.flops == pytest.approx(expected.flops, rel=1e-6)
    assert work.moved_bytes == pytest.approx(expected.moved_bytes, rel=0.1)
    assert work.num_operations == pytest.approx(expected.num_operations, rel=0.5)


def test_a_repeated_stretch_adds_its_work_and_no_shapes():
    with memory.without_memory() as ledger:
        states, weight = torch.empty(4, 4, dtype=torch.bfloat16), torch.empty(4, 4, dtype=torch.bfloat16)
        torch.mm(states, weight)
        for _ in tracing.representative([1.0, 3.0, 2.0], size=float):
            torch.mm(states[:3], weight)
    assert ledger.work.flops == 2 * 4 * 4 * 4 + 2 * (2 * 3 * 4 * 4)
    assert ledger.work.num_shapes == 2


def test_without_tracing_every_piece_is_yielded():
    assert list(tracing.representative([1.0, 3.0, 2.0], size=float)) == [1.0, 3.0, 2.0]
