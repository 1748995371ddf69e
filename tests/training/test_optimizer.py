"""Optimizer and learning rate."""

import itertools
import math

import pytest
import torch

from finewright.training import optimizer as optimizer_module
from finewright.training.state import _flatten
from support import tiny


def curve(lr_scheduler, *, num_steps=10, warmup=0.2):
    return [
        optimizer_module.learning_rate_at(step, num_steps=num_steps, peak=1.0, warmup_ratio=warmup, lr_scheduler=lr_scheduler)
        for step in range(num_steps)
    ]


def test_linear_rises_then_falls_to_one_step_above_zero():
    assert curve("linear") == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_cosine_is_at_half_the_peak_in_the_middle():
    assert curve("cosine")[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_constant_is_the_peak_throughout():
    assert curve("constant", warmup=0) == [1.0] * 10


def test_vectors_are_not_decayed():
    optimizer = optimizer_module.build_optimizer(tiny.prepared_model("gpt2"), lr=1e-3, weight_decay=0.1)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim == 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])
    assert optimizer.defaults["fused"]


def test_the_fused_optimizer_makes_the_updates_of_the_plain_one():
    ours, theirs = tiny.prepared_model("gpt2"), tiny.prepared_model("gpt2")
    fused = optimizer_module.build_optimizer(ours, lr=1e-2, weight_decay=0.1)
    groups = [
        group | {"params": list(group["params"])}
        for group in optimizer_module.build_optimizer(theirs, lr=1e-2, weight_decay=0.1).param_groups
    ]
    plain_groups = [{key: group[key] for key in ("params", "weight_decay")} for group in groups]
    plain = torch.optim.AdamW(plain_groups, lr=1e-2, fused=False, foreach=False)
    generator, before = torch.Generator().manual_seed(0), [p.detach().clone() for p in theirs.trainable().values()]
    for step in range(10):
        for one, other in zip(ours.trainable().values(), theirs.trainable().values(), strict=True):
            gradient = torch.randn(one.shape, generator=generator) * 10.0 ** (step % 4 - 3)
            one.grad, other.grad = gradient, gradient.clone()
        for optimizer in (fused, plain):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 / (step + 1)
            optimizer.step()
    for (name, one), other, first in zip(ours.trainable().items(), theirs.trainable().values(), before, strict=True):
        assert not torch.allclose(other, first, atol=1e-3), name
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5, msg=name)


def trained(kind, *, initialized):
    """Weights and the optimizer's state after three updates, on gradients of a fixed seed."""
    prepared_model = tiny.prepared_model("gpt2")
    prepared_model.network.add_module("wide", torch.nn.Linear(96, 64))  # over 4,096 elements: stored in 8 bits
    torch.nn.init.ones_(prepared_model.network.wide.weight)
    torch.nn.init.ones_(prepared_model.network.wide.bias)
    optimizer = optimizer_module.build_optimizer(prepared_model, lr=1e-3, weight_decay=0.1, kind=kind)
    if initialized:
        optimizer_module.init_state(optimizer)
        optimizer_module.init_state(optimizer)  # existing state is not replaced
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for parameter in prepared_model.trainable().values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    state = [list(_flatten(optimizer.state[parameter])) for parameter in prepared_model.trainable().values()]
    return list(prepared_model.trainable().values()), state


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
def test_initialized_state_equals_that_of_the_first_update(kind):
    if kind != "adamw":
        pytest.importorskip("bitsandbytes")
    (weights, state), (lazy_weights, lazy_state) = trained(kind, initialized=True), trained(kind, initialized=False)
    assert all(map(torch.equal, weights, lazy_weights))
    assert [[key for key, _ in one] for one in state] == [[key for key, _ in one] for one in lazy_state]
    for (_, ours), (_, theirs) in zip(itertools.chain(*state), itertools.chain(*lazy_state), strict=True):
        if isinstance(ours, torch.Tensor):
            assert (ours.dtype, ours.device) == (theirs.dtype, theirs.device)
            assert torch.equal(ours, theirs)
        else:
            assert ours == theirs


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
def test_running_out_of_memory_leaves_no_incomplete_state(kind, monkeypatch):
    if kind != "adamw":
        pytest.importorskip("bitsandbytes")
    optimizer = optimizer_module.build_optimizer(tiny.prepared_model("gpt2"), lr=1e-3, weight_decay=0.1, kind=kind)
    original, calls = torch.zeros_like, []

    def fail_at_second_call(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros_like", fail_at_second_call)
        with pytest.raises(torch.OutOfMemoryError):
            optimizer_module.init_state(optimizer)
    assert not any(optimizer.state.values())
    optimizer_module.init_state(optimizer)
    assert all(len(optimizer.state[one]) >= 3 for group in optimizer.param_groups for one in group["params"])
