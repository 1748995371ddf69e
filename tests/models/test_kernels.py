"""Faster modules against the plain ones."""

import copy

import pytest
import torch
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.pytorch_utils import Conv1D

from finewright.models import kernels

DTYPES = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_dropout_drops_at_its_rate_and_preserves_the_mean(share):
    torch.manual_seed(0)
    dropped = kernels.dropout(torch.ones(1001, 1003), share)
    assert float((dropped == 0).float().mean()) == pytest.approx(share, abs=2e-3)
    assert float(dropped.max()) == pytest.approx(1 / (1 - share), rel=1e-4)
    assert float(dropped.mean()) == pytest.approx(1, abs=4e-3)
    assert len(dropped.unique()) == 2


def test_dropout_follows_the_seed_and_differs_from_call_to_call():
    states = torch.ones(10, 10)
    torch.manual_seed(5)
    first, second = kernels.dropout(states, 0.5), kernels.dropout(states, 0.5)
    torch.manual_seed(5)
    assert torch.equal(kernels.dropout(states, 0.5), first)
    assert not torch.equal(first, second)
    rows = kernels.dropout(torch.ones(1000, 1000), 0.5) > 0
    agreement = (rows[:-1] == rows[1:]).float().mean()
    assert float(agreement) == pytest.approx(0.5, abs=0.01), "neighbours are sampled apart"


def test_gradients_have_the_same_mask_as_states():
    states = torch.ones(20, 20, requires_grad=True)
    dropped = kernels.dropout(states, 0.3)
    dropped.sum().backward()
    assert torch.equal(states.grad, dropped.detach())


def test_replay_gives_the_same_masks_without_the_default_generator():
    torch.manual_seed(4)
    mask = kernels.DropoutMask(0.3, torch.device("cpu"))
    first = [mask.sample(torch.empty(size)) for size in (5, 1001)]
    state, again = torch.get_rng_state(), mask.replay()
    assert all(map(torch.equal, first, [again.sample(torch.empty(size)) for size in (5, 1001)]))
    assert torch.equal(torch.get_rng_state(), state)
    assert set(first[1].tolist()) == {0.0, 1.0}
    assert first[1].mean().item() == pytest.approx(0.7, abs=0.06)
    assert mask.weight == pytest.approx(1 / 0.7, rel=1e-4)


@pytest.mark.parametrize("share", [0.999999, 1.0])
def test_a_rate_of_one_drops_everything(share):
    mask = kernels.DropoutMask(share, torch.device("cpu"))
    assert not mask.sample(torch.empty(7, 3)).any()
    assert not mask.replay().sample(torch.empty(7, 3)).any()


def test_dropout_is_off_in_evaluation_and_at_rate_zero():
    layer = kernels.Dropout(0.5)
    states = torch.randn(8, 8)
    assert torch.equal(layer.eval()(states), states)
    assert not torch.equal(layer.train()(states), states)
    assert torch.equal(kernels.Dropout(0.0).train()(states), states)
    assert not kernels.Dropout(1.0).train()(states).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("plain", [torch.nn.Linear(48, 80), torch.nn.Linear(48, 80, bias=False), Conv1D(80, 48)], ids=str)
def test_packed_products_equal_the_plain_ones(plain, dtype):
    if not kernels.can_pack(dtype):
        pytest.skip("this machine has no packed product in this dtype")
    torch.manual_seed(0)
    plain = copy.deepcopy(plain).to(dtype).requires_grad_(False)
    layer = copy.deepcopy(plain)
    kernels.pack(layer)
    outcomes = []
    for module in (plain, layer):
        states = torch.randn(1, 37, 48, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_(True)
        result = module(states)
        result.float().pow(2).sum().backward()
        outcomes.append((result.detach(), states.grad))
    exact = {"atol": 0, "rtol": 0} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    for ours, theirs in zip(outcomes[1], outcomes[0], strict=True):
        torch.testing.assert_close(ours, theirs, **exact)
    assert layer.state_dict().keys() == plain.state_dict().keys()


def test_a_packed_product_in_autocast_takes_float32_and_returns_bfloat16():
    if not kernels.can_pack(torch.bfloat16):
        pytest.skip("this machine has no packed product in bfloat16")
    plain = torch.nn.Linear(48, 80).bfloat16().requires_grad_(False)
    layer = copy.deepcopy(plain)
    kernels.pack(layer)
    outcomes = []
    for module in (plain, layer):
        states = torch.randn(37, 48, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = module(states)
        result.float().pow(2).sum().backward()
        outcomes.append((result.detach(), states.grad))
    assert outcomes[1][0].dtype == torch.bfloat16
    assert outcomes[1][1].dtype == torch.float32
    for ours, theirs in zip(outcomes[1], outcomes[0], strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def packed_linear():
    layer = torch.nn.Linear(8, 8).requires_grad_(False)
    kernels.pack(layer)
    return layer


def test_a_changed_weight_is_packed_again():
    if not kernels.can_pack(torch.float32):
        pytest.skip("this machine has no packed product in float32")
    layer, states = packed_linear(), torch.randn(3, 8)
    before = layer(states)
    layer.weight.mul_(2)
    torch.testing.assert_close(layer(states) - layer.bias, 2 * (before - layer.bias))
    layer.weight = torch.nn.Parameter(torch.zeros(8, 8), requires_grad=False)
    torch.testing.assert_close(layer(states), layer.bias.expand(3, 8))


def test_a_copied_module_packs_its_own_weight():
    if not kernels.can_pack(torch.float32):
        pytest.skip("this machine has no packed product in float32")
    layer, states = packed_linear(), torch.randn(3, 8)
    before = layer(states)
    twin = copy.deepcopy(layer)
    twin.weight.zero_()
    torch.testing.assert_close(twin(states), layer.bias.expand(3, 8))
    assert torch.equal(layer(states), before)


def test_only_plain_frozen_matrices_are_packed(monkeypatch):
    class Strange(torch.nn.Linear):
        pass

    monkeypatch.setattr(kernels, "can_pack", lambda dtype: True)
    frozen = [module.requires_grad_(False) for module in (torch.nn.Linear(4, 4), Conv1D(4, 4), torch.nn.LayerNorm(4))]
    assert [kernels.is_packable(module) for module in frozen] == [True, True, False]
    assert not kernels.is_packable(torch.nn.Linear(4, 4))
    assert not kernels.is_packable(Strange(4, 4).requires_grad_(False)), "a subclass may compute something else"
    kernels.pack(frozen[0])
    assert not kernels.is_packable(frozen[0]), "packed already"


def test_on_the_meta_device_the_memory_of_a_packed_copy_is_counted():
    with torch.device("meta"):
        layer = torch.nn.Linear(8, 6).requires_grad_(False)
    kernels.pack(layer)
    assert [buffer.shape for buffer in layer.buffers()] == [(6, 8)]
    assert layer(torch.empty(2, 8, device="meta")).shape == (2, 6)
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_the_fused_gelu_equals_the_plain_one():
    network = torch.nn.Sequential(NewGELUActivation(), torch.nn.ModuleList([FastGELUActivation(), torch.nn.Dropout(0.1)]))
    slow = copy.deepcopy(network)
    kernels.fuse(network)
    states = torch.linspace(-9, 9, 4001)
    for ours, theirs in ((network[0], slow[0]), (network[1][0], slow[1][0])):
        assert type(ours) is torch.nn.GELU
        torch.testing.assert_close(ours(states), theirs(states), atol=1e-6, rtol=1e-6)
    assert type(network[1][1]) is kernels.Dropout
