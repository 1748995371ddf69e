"""Losses of preference tuning, by values computed by hand and by their numeric gradients."""

import math

import pytest
import torch

from finewright.tasks import preference_losses as losses


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_dpo_by_hand():
    found = losses.dpo(numbers(0.0, 2.0, -3.0), beta=0.5)
    assert found.tolist() == pytest.approx([math.log(2), -math.log(sigmoid(1.0)), -math.log(sigmoid(-1.5))])


def test_dpo_with_labels_that_may_be_the_wrong_way_round():
    (found,) = losses.dpo(numbers(2.0), beta=0.5, label_smoothing=0.1).tolist()
    assert found == pytest.approx(-0.9 * math.log(sigmoid(1.0)) - 0.1 * math.log(sigmoid(-1.0)))
    (equal,) = losses.dpo(numbers(0.0), beta=0.5, label_smoothing=0.3).tolist()
    assert equal == pytest.approx(math.log(2)), "the start does not depend on it"


def test_ipo_by_hand():
    found = losses.ipo(numbers(0.0, 5.0, 1.0), beta=0.1)
    assert found.tolist() == pytest.approx([25.0, 0.0, 16.0])


def test_kto_by_hand():
    good = torch.tensor([True, False, True, False])
    found = losses.kto(numbers(3.0, 3.0, 1.0, 1.0), good, numbers(1.0)[0], beta=0.5, desirable_weight=1.0, undesirable_weight=1.5)
    assert found.tolist() == pytest.approx([1 - sigmoid(1.0), 1.5 * (1 - sigmoid(-1.0)), 0.5, 0.75])


def test_the_divergence_is_never_negative_and_has_no_gradient():
    ratio = numbers(0.7)[0].requires_grad_()
    assert losses.divergence(ratio).item() == pytest.approx(0.7)
    assert losses.divergence(-ratio).item() == 0.0
    assert not losses.divergence(ratio).requires_grad
    ratios = numbers(0.2, 0.1).requires_grad_()
    losses.kto(ratios, torch.tensor([True, False]), ratio, beta=0.1).sum().backward()
    assert ratio.grad is None


def test_orpo_by_hand():
    chosen, rejected = math.log(0.5), math.log(0.2)  # odds 1 and 1/4
    (found,) = losses.orpo(numbers(chosen), numbers(rejected), weight=0.1).tolist()
    assert found == pytest.approx(-0.1 * math.log(sigmoid(math.log(4))))


def test_orpo_of_an_answer_that_is_certain_is_finite():
    means = numbers(0.0, -1e-12, -80.0).requires_grad_()
    found = losses.orpo(means, numbers(-1.0, -1.0, -1.0), weight=0.1)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(means.grad).all()


def test_simpo_by_hand():
    (found,) = losses.simpo(numbers(-1.0), numbers(-1.5), beta=2.0, gamma=0.6).tolist()
    assert found == pytest.approx(-math.log(sigmoid(0.4)))


GOOD = torch.tensor([True, False, True])


@pytest.mark.parametrize(
    "loss",
    [
        lambda one, other: losses.dpo(one - other, beta=0.3, label_smoothing=0.1),
        lambda one, other: losses.ipo(one - other, beta=0.3),
        lambda one, other: losses.kto(one, GOOD, numbers(0.2)[0], beta=0.3, desirable_weight=1.2, undesirable_weight=0.7),
        lambda one, other: losses.orpo(one, other, weight=0.4),
        lambda one, other: losses.simpo(one, other, beta=2.0, gamma=0.5),
    ],
    ids=["dpo", "ipo", "kto", "orpo", "simpo"],
)
def test_gradients_are_those_of_the_values(loss):
    one, other = numbers(-1.0, -0.2, -3.0).requires_grad_(), numbers(-2.0, -0.7, -0.1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (one, other))


@pytest.mark.parametrize("far", [1e4, -1e4])
def test_far_from_the_start_the_losses_are_finite(far):
    found = [losses.dpo(numbers(far), beta=1.0), losses.simpo(numbers(far), numbers(0.0), beta=1.0, gamma=0.5)]
    found += [losses.kto(numbers(far), torch.tensor([True]), numbers(0.0)[0], beta=1.0)]
    assert all(torch.isfinite(one).all() for one in found)
