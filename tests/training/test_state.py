"""Saving and restoring the training state as tensors and JSON."""

import json

import pytest
import torch

from finewright.core.errors import UserError
from finewright.training import optimizer
from finewright.training.state import (
    EvaluatedStep,
    Progress,
    TrainState,
    get_random_state,
    preserving_random_state,
    set_random_state,
)
from support import tiny


def trained(*, steps=2, seed=0):
    prepared_model = tiny.prepared_model("gpt2", seed=seed)
    state = TrainState(prepared_model, optimizer.build_optimizer(prepared_model, lr=1e-3, weight_decay=0.01))
    for _ in range(steps):
        for parameter in prepared_model.trainable().values():
            parameter.grad = torch.randn_like(parameter)
        state.optimizer.step()
    return state


def copied(state):
    return {group: {name: tensor.clone() for name, tensor in tensors.items()} for group, tensors in state.tensors().items()}


def test_a_restored_state_continues_identically():
    first, second = trained(), trained(steps=0, seed=5)
    saved = copied(first)
    expected = torch.rand(3)
    second.restore(saved, Progress(step=2))
    assert torch.equal(torch.rand(3), expected)
    for state in (first, second):
        for parameter in state.prepared_model.trainable().values():
            parameter.grad = torch.ones_like(parameter)
        state.optimizer.step()
    for (name, one), other in zip(
        first.prepared_model.trainable().items(), second.prepared_model.trainable().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_plain_numbers_in_the_optimizer_state_are_restored():
    state = trained()
    first = state.optimizer.param_groups[0]["params"][0]
    state.optimizer.state[first]["count"] = 7
    saved = copied(state)
    state.optimizer.state[first]["count"] = 8
    state.restore(saved, Progress())
    assert state.optimizer.state_dict()["state"][0]["count"] == 7


def test_progress_is_json():
    progress = Progress(
        step=4, evaluations_without_improvement=1, best=EvaluatedStep(3, 0.5, {"accuracy": 0.25, "loss": 1 / 3}), unreached=["a"]
    )
    assert Progress.from_json(json.loads(json.dumps(progress.as_json()))) == progress
    assert Progress.from_json(Progress().as_json()) == Progress()


def test_differing_tensors_are_refused_with_an_example():
    state = trained()
    saved = copied(state)
    name = next(iter(saved["trained"]))
    saved["trained"][name] = torch.ones(2, 2)
    with pytest.raises(UserError, match=rf"1 trained tensor is not that of the checkpoint, for instance {name}: \[2, 2\] → "):
        state.restore(saved, Progress())
    del saved["trained"][name]
    with pytest.raises(UserError, match="absent →"):
        state.restore(saved, Progress())


def test_non_finite_weights_are_detected():
    state = trained()
    assert state.finite()
    next(iter(state.prepared_model.trainable().values())).data[0, 0] = float("inf")
    assert not state.finite()


def test_random_state_is_restored_at_exit():
    device = torch.device("cpu")
    saved = get_random_state(device)
    expected = torch.rand(2)
    set_random_state(saved)
    with preserving_random_state(device):
        torch.rand(100)
    assert torch.equal(torch.rand(2), expected)
