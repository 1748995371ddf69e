"""Copies of matrices in bfloat16: the products of autocast, and a network that is afterwards what it was."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from finewright.core import hardware
from finewright.inference import bfloat16_copies, generation
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


def answer(net, ids):
    options = generation.GenerationOptions(max_new_tokens=8)
    return generation.generate_answers(net, Words(), [ids], options=options, end_ids=[], bfloat16=True)[0].ids


class Words:
    """A tokenizer of tiny networks: every token is a letter."""

    is_fast = False

    def decode(self, ids, **_):
        return "".join(chr(97 + token % 26) for token in ids)


def change_by_optimizer(net):
    """This optimizer does not count up the versions of the weights."""
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    torch.optim.AdamW(net.parameters(), lr=0.3, fused=True).step()


def change_in_data(net):
    net.transformer.h[0].mlp.c_fc.weight.data *= -5


@pytest.mark.parametrize("change", [change_by_optimizer, change_in_data])
def test_a_generation_reads_the_weights_as_they_are_then(change):
    net = causal("gpt2")
    (ids,) = tiny.texts([6], seed=1)
    before = answer(net, ids)
    change(net)
    assert answer(net, ids) == answer(copy.deepcopy(net), ids) != before


def test_two_streams_of_one_network_do_not_disturb_each_other():
    net = causal("llama").requires_grad_(True)
    first, second = tiny.texts([6, 9], seed=1)
    own = dict.fromkeys((0, 1))
    alone = [list(stream(net, ids)) for ids in (first, second)]
    streams, found = [stream(net, first), stream(net, second)], [[], []]
    while own:
        for number in list(own):
            piece = next(streams[number], None)
            if piece is None:
                own.pop(number)
            else:
                found[number].append(piece)
                plain = net(input_ids=torch.tensor([first])).logits
                assert plain.requires_grad, "between two tokens the network is the plain one"
                assert plain.dtype == torch.float32
    assert found == alone


def stream(net, ids):
    options = generation.GenerationOptions(max_new_tokens=6)
    return generation.stream_answer(net, Words(), ids, options=options, end_ids=[], bfloat16=True)


def test_several_threads_may_generate_at_once():
    net = causal("gpt2")
    prompts = tiny.texts([6, 9, 4, 7], seed=1)
    alone = [answer(net, ids) for ids in prompts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda ids: answer(net, ids), prompts)) == alone
    assert not [module for module in net.modules() if type(module) in bfloat16_copies._PLAIN]


def test_a_network_is_restored_after_an_error():
    net = causal("llama")
    kinds = [type(module) for module in net.modules()]
    with pytest.raises(RuntimeError, match="stop"), Bfloat16Copies(net).in_place():
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


def test_a_network_is_copied_as_a_plain_one():
    net = causal("gpt2")
    copies = Bfloat16Copies(net)
    (ids,) = tiny.texts([6], seed=1)
    with copies.in_place():
        logits(net, ids)
    twin = copy.deepcopy(net)
    assert torch.equal(logits(twin, ids), logits(net, ids))
