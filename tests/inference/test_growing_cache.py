"""The cache that grows in steps holds what transformers' own does."""

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from finewright.inference import growing_cache
from finewright.inference.growing_cache import GrowingLayer, make_cache
from support import families, tiny


def states(num_tokens, *, seed, rows=3):
    return torch.randn(2, rows, 2, num_tokens, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_states_are_those_of_transformers(dtype):
    own, theirs = GrowingLayer(dtype), DynamicLayer()
    for seed, num_tokens in enumerate([5, 1, 1, growing_cache.LEAST_ROOM, 1, 200, 1]):
        key, value = states(num_tokens, seed=seed)
        found, expected = own.update(key, value), theirs.update(key.to(dtype or key.dtype), value.to(dtype or key.dtype))
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert own.get_seq_length() == theirs.get_seq_length()
        assert own.get_mask_sizes(1) == theirs.get_mask_sizes(1)


def test_answers_that_are_kept_go_on():
    own, theirs = GrowingLayer(), DynamicLayer()
    own.reorder_cache(torch.tensor([0]))  # empty: nothing to keep
    for layer in (own, theirs):
        layer.update(*states(4, seed=0))
        layer.reorder_cache(torch.tensor([2, 0]))
        layer.update(*states(1, seed=1, rows=2))
    assert torch.equal(own.keys, theirs.keys)
    assert torch.equal(own.values, theirs.values)


def test_tokens_are_rarely_copied(monkeypatch):
    layer, copied = GrowingLayer(), []
    widen = growing_cache._widen
    monkeypatch.setattr(growing_cache, "_widen", lambda room, used, wanted: copied.append(used) or widen(room, used, wanted))
    layer.update(*states(10, seed=0))
    for seed in range(300):
        layer.update(*states(1, seed=seed))
    assert len(copied) // 2 <= 5  # keys and values


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "mistral"])
def test_layers_of_other_kinds_stay(kind):
    config = (families.CONFIGS | tiny.CONFIGS)[kind]()
    kinds = [type(layer) for layer in DynamicCache(config=config).layers]
    expected = [GrowingLayer if one is DynamicLayer else one for one in kinds]
    assert [type(layer) for layer in make_cache(config).layers] == expected
