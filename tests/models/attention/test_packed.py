"""Attention of packed rows."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finewright.data.layout import PackedLayout
from finewright.models.attention import packed, tiled
from finewright.models.attention.packed import packed_attention


@pytest.fixture(autouse=True, params=[1, 1_000_000], ids=["in tiles", "whole"])
def long(request, monkeypatch):
    """Run every test with the code for long texts and with that for short ones."""
    monkeypatch.setattr(packed, "LONG", request.param)


class Causal(torch.nn.Module):
    is_causal = True


class Open(torch.nn.Module):
    is_causal = False


def reference(query, key, value, lengths, *, causal, window=None):
    """PyTorch's own attention, one text at a time."""
    outputs = []
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    for start, length in zip(starts, lengths, strict=True):
        q, k, v = (x[:, :, start : start + length] for x in (query, key, value))
        seen = torch.ones(length, length, dtype=torch.bool)
        if causal:
            seen = seen.tril()
        if window:
            seen &= torch.ones(length, length, dtype=torch.bool).triu(1 - window)
        outputs.append(torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True))
    return torch.cat(outputs, dim=2).transpose(1, 2)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.booleans())
def test_equals_pytorch_one_text_at_a_time(lengths, causal):
    lengths = sorted(lengths)
    generator = torch.Generator().manual_seed(len(lengths))
    query = torch.randn(1, 4, sum(lengths), 8, generator=generator)
    key, value = (torch.randn(1, 2, sum(lengths), 8, generator=generator) for _ in range(2))
    module = Causal() if causal else Open()
    ours, _ = packed_attention(module, query, key, value, None, layout=PackedLayout(tuple(lengths)))
    torch.testing.assert_close(ours, reference(query, key, value, lengths, causal=causal), atol=1e-5, rtol=0)


def test_a_sliding_window_hides_what_lies_before_it():
    query, key, value = (torch.randn(1, 2, 9, 4) for _ in range(3))
    ours, _ = packed_attention(Causal(), query, key, value, None, layout=PackedLayout((3, 6)), sliding_window=2)
    expected = reference(query, key, value, [3, 6], causal=True, window=2)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    wide, _ = packed_attention(Causal(), query, key, value, None, layout=PackedLayout((3, 6)))
    assert not torch.allclose(ours, wide, atol=1e-3)


def test_layout_gives_first_last_and_positions():
    layout = PackedLayout((1, 3, 3))
    assert layout.groups == [(1, 1), (2, 3)]
    assert layout.first.tolist() == [0, 1, 4]
    assert layout.last.tolist() == [0, 3, 6]
    assert layout.positions.tolist() == [0, 0, 1, 2, 0, 1, 2]
    assert layout.lengthened(2).lengths == (3, 5, 5)


def test_packed_attention_needs_its_layout():
    query = torch.randn(1, 1, 2, 4)
    with pytest.raises(AssertionError, match="layout"):
        packed_attention(Causal(), query, query, query, None)


def test_a_prefixed_layout_counts_on_from_the_prefix():
    layout = PackedLayout((1, 3)).prefixed(2)
    assert layout.positions.tolist() == [0, 1, 2, 2, 3, 4]
    assert layout.last.tolist() == [2, 5]
    assert layout.first.tolist() == [2, 3]


@pytest.mark.parametrize("window", [None, 2, 4])
def test_a_shared_prefix_equals_a_prefix_before_every_text(window):
    """The same tokens before each of three texts, once in the row and once for each text."""
    prefix, lengths = 3, (1, 4, 4)
    row = [torch.randn(1, heads, prefix + sum(lengths), 8) for heads in (4, 2, 2)]
    ours, _ = packed_attention(Causal(), *row, None, layout=PackedLayout(lengths).prefixed(prefix), sliding_window=window)
    pieces = [x.split([prefix, *lengths], dim=2) for x in row]
    long = [torch.cat([part for text in x[1:] for part in (x[0], text)], dim=2) for x in pieces]
    expected = reference(*long, [prefix + length for length in lengths], causal=True, window=window)
    texts = [expected[:, start : start + length] for start, length in zip((3, 7, 14), lengths, strict=True)]
    torch.testing.assert_close(ours, torch.cat([expected[:, :prefix], *texts], dim=1), atol=1e-5, rtol=0)


def test_texts_are_tiled_only_where_dropout_can_be_replayed(monkeypatch):
    row = torch.randn(1, 2, 6, 4)
    monkeypatch.setattr(packed, "LONG", 1)
    monkeypatch.delitem(tiled.QUERIES_PER_TILE, "cpu")  # as on other devices, such as Apple's
    monkeypatch.setattr(tiled, "attend", lambda *_, **__: pytest.fail("in tiles"))
    packed_attention(Causal(), row, row, row, None, layout=PackedLayout((1, 5)), dropout=0.1)


def test_short_texts_with_a_long_prefix_are_not_tiled(monkeypatch):
    """A copy of the prefix's keys and values for each text would be larger than its scores."""
    monkeypatch.setattr(packed, "LONG", 5)
    looked = []
    honest = tiled.attend
    monkeypatch.setattr(
        tiled, "attend", lambda query, *given, **options: looked.append(query.shape[1]) or honest(query, *given, **options)
    )
    row = torch.randn(1, 2, 7 + 9, 4)
    packed_attention(Causal(), row, row, row, None, layout=PackedLayout((4, 5)).prefixed(7))
    assert looked == [5]


@pytest.mark.parametrize("prefix", [0, 2])
def test_dropout_drops_probabilities_and_scales_the_others(prefix):
    """With unit vectors as values the outputs are the probabilities, which show the sampled mask."""
    lengths, heads, rate = (1, 3, 3), 2, 0.25
    num_tokens, longest = prefix + sum(lengths), prefix + max(lengths)
    layout = PackedLayout(lengths).prefixed(prefix) if prefix else PackedLayout(lengths)
    query, key, value = (torch.randn(1, heads, num_tokens, longest) for _ in range(3))
    places = torch.cat([torch.arange(prefix), layout.positions[prefix:]])
    ones = torch.nn.functional.one_hot(places, longest).float().expand(1, heads, -1, -1)

    def attended(values, dropout):
        torch.manual_seed(1)
        return packed_attention(Causal(), query, key, values, None, layout=layout, dropout=dropout)[0][0]

    probabilities, dropped = attended(ones, 0.0), attended(ones, rate)
    mask = dropped[probabilities > 0] / probabilities[probabilities > 0]
    assert 0 < int((mask == 0).sum()) < len(mask) / 2
    torch.testing.assert_close(mask, (mask != 0) / (1 - rate), atol=1e-5, rtol=0)
    starts, outcome = [prefix + sum(lengths[:number]) for number in range(len(lengths))], attended(value, rate)
    before = value[0, :, :prefix]
    for start, length in [(0, prefix), *zip(starts, lengths, strict=True)]:
        own = torch.cat([before, value[0, :, start : start + length]], dim=1) if start else value[0, :, start : start + length]
        weights = dropped[start : start + length].transpose(0, 1)[:, :, : own.shape[1]]
        torch.testing.assert_close(outcome[start : start + length].transpose(0, 1), weights @ own, atol=1e-5, rtol=1e-5)


def defined(query, key, value, lengths, *, softcap=None, sinks=None, causal=True, window=None):
    """Attention with capped scores and sinks, one text at a time, from the definition."""
    outputs, start = [], 0
    for length in lengths:
        q, k, v = (x[0, :, start : start + length] for x in (query, key, value))
        k, v = (x.repeat_interleave(len(q) // len(x), dim=0) for x in (k, v))
        scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        distance = torch.arange(length)[:, None] - torch.arange(length)[None]
        hidden = (distance < 0) & torch.tensor(causal) | (distance.abs() >= (window or length + 1))
        weights = scores.masked_fill(hidden, float("-inf")).exp()
        total = weights.sum(-1, keepdim=True) + (0 if sinks is None else sinks.exp()[:, None, None])
        outputs.append((weights / total @ v).transpose(0, 1))
        start += length
    return torch.cat(outputs)[None]


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    "given", [{"softcap": 0.7}, {"sinks": torch.tensor([0.5, -1.0, 2.0, 0.0])}, {}], ids=["cap", "sinks", "plain"]
)
def test_capped_scores_sinks_and_windows_on_both_sides(given, causal, window):
    lengths = (1, 4, 4, 9)
    query, key, value = (torch.randn(1, heads, sum(lengths), 8) for heads in (4, 2, 2))
    named = {"s_aux": given["sinks"]} if "sinks" in given else given
    ours, _ = packed_attention(
        Causal() if causal else Open(), query, key, value, None, layout=PackedLayout(lengths), sliding_window=window, **named
    )
    expected = defined(query, key, value, lengths, causal=causal, window=window, **given)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("given", [{"softcap": 0.7}, {"s_aux": torch.tensor([0.5, -1.0, 2.0, 0.0])}], ids=["cap", "sinks"])
def test_a_shared_prefix_takes_part_in_capped_scores_and_sinks(given):
    prefix, lengths = 3, (1, 4, 4)
    row = [torch.randn(1, heads, prefix + sum(lengths), 8) for heads in (4, 2, 2)]
    ours, _ = packed_attention(Causal(), *row, None, layout=PackedLayout(lengths).prefixed(prefix), **given)
    starts = [prefix, prefix + 1, prefix + 5]
    texts = [
        [torch.cat([x[:, :, :prefix], x[:, :, start : start + length]], dim=2) for x in row]
        for start, length in zip(starts, lengths, strict=True)
    ]
    alone = [packed_attention(Causal(), *text, None, layout=PackedLayout((text[0].shape[2],)), **given)[0] for text in texts]
    expected = torch.cat([alone[0][:, :prefix], *(one[:, prefix:] for one in alone)], dim=1)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_an_argument_of_the_model_decides_over_its_module():
    query, key, value = (torch.randn(1, 2, 6, 4) for _ in range(3))
    layout = PackedLayout((6,))
    told, _ = packed_attention(Causal(), query, key, value, None, layout=layout, is_causal=False)
    torch.testing.assert_close(told, packed_attention(Open(), query, key, value, None, layout=layout)[0])
