"""Optimizer and learning rate."""

import math

import pytest

import tiny
from finewright import optim


def curve(schedule, *, num_steps=10, warmup=0.2):
    return [
        optim.lr_at(step, num_steps=num_steps, peak=1.0, warmup_fraction=warmup, schedule=schedule) for step in range(num_steps)
    ]


def test_linear_rises_then_falls_to_one_step_above_zero():
    assert curve("linear") == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_cosine_is_half_way_in_the_middle():
    assert curve("cosine")[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_constant_stays():
    assert curve("constant", warmup=0) == [1.0] * 10


def test_vectors_are_not_decayed():
    optimizer = optim.build(tiny.tuned("gpt2"), lr=1e-3, weight_decay=0.1)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim == 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])
    assert optimizer.defaults["fused"]
