"""Copies of matrices in bfloat16: the products of autocast, and a network that is afterwards what it was."""

import copy

import pytest
import torch
from torch import nn

from finewright.core import hardware
from finewright.inference import bfloat16_copies, decoding
from finewright.inference.bfloat16_copies import Bfloat16Copies
from finewright.models import torch_compat
from support import tiny


def causal(kind):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny.build_config(kind), dtype=torch.float32).eval()


def logits(net, ids):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        return net(input_ids=torch.tensor([ids])).logits


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def packing(request, monkeypatch):
    if request.param and not torch_compat.can_pack(torch.bfloat16):
        pytest.skip("oneDNN's packed products are not there")
    monkeypatch.setattr(torch_compat, "can_pack", lambda _: request.param)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_outputs_are_those_of_autocast_bit_for_bit(kind, packing):
    net = causal(kind)
    (ids,) = tiny.texts([12], seed=1)
    expected, kinds = logits(net, ids), [type(module) for module in net.modules()]
    copies = Bfloat16Copies(net)
    with copies.in_place():
        assert [type(module) for module in net.modules()] != kinds
        assert torch.equal(logits(net, ids), expected)
        assert net.state_dict().keys() == causal(kind).state_dict().keys()
    assert [type(module) for module in net.modules()] == kinds
    assert torch.equal(logits(net, ids), expected)
    assert not any("bfloat16_copy" in vars(module) for module in net.modules())


def test_a_copy_follows_its_weight():
    net = causal("gpt2")
    (ids,) = tiny.texts([6], seed=1)
    copies = Bfloat16Copies(net)
    with copies.in_place():
        before = logits(net, ids)
    with torch.no_grad():
        net.transformer.h[0].mlp.c_fc.weight.mul_(1.5)
    with copies.in_place():
        after = logits(net, ids)
    assert not torch.equal(before, after)
    assert torch.equal(after, logits(net, ids))


def test_a_network_is_restored_after_an_error():
    net = causal("llama")
    kinds = [type(module) for module in net.modules()]
    with pytest.raises(RuntimeError, match="stop"), decoding.decoding_mode(net, copies=Bfloat16Copies(net)):
        raise RuntimeError("stop")
    assert [type(module) for module in net.modules()] == kinds
    net.requires_grad_(True)
    net(input_ids=torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]])).loss.backward()
    assert net.lm_head.weight.grad is not None


def test_matrices_of_other_kinds_and_dtypes_have_no_copy():
    class Own(nn.Linear):
        """Computes otherwise."""

    net = nn.Sequential(nn.Linear(4, 4), Own(4, 4), nn.Linear(4, 4, dtype=torch.bfloat16))
    with Bfloat16Copies(net).in_place():
        assert [hasattr(module, "bfloat16_copy") for module in net] == [True, False, False]


def test_no_copies_where_memory_does_not_suffice(monkeypatch):
    net = nn.Sequential(nn.Linear(100, 100))
    monkeypatch.setattr(hardware, "free_bytes", lambda _: 2 * 100 * 100 / bfloat16_copies.MEMORY_SHARE - 1)
    with Bfloat16Copies(net).in_place():
        assert type(net[0]) is nn.Linear
    monkeypatch.setattr(hardware, "free_bytes", lambda _: 2 * 100 * 100 / bfloat16_copies.MEMORY_SHARE)
    with Bfloat16Copies(net).in_place():
        assert type(net[0]) is not nn.Linear


def test_a_network_with_copies_in_use_is_not_copied_twice():
    net = causal("gpt2")
    copies = Bfloat16Copies(net)
    (ids,) = tiny.texts([6], seed=1)
    with copies.in_place():
        logits(net, ids)
    twin = copy.deepcopy(net)
    assert torch.equal(logits(twin, ids), logits(net, ids))
