"""The loss of pairs: what it is on states that are known, and that splits and padding do not matter to a text's states."""

import math

import pytest
import torch

from finewright.data import packing
from finewright.tasks.text_classification import TextClassification
from finewright.training import objectives
from support import tiny
from support.prepared import prepared

TARGETS = torch.tensor([0, 0, 1])


def test_texts_of_one_label_that_lie_together_cost_less():
    together = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]])  # lengths do not matter
    apart = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    losses = [float(objectives.supervised_contrastive_loss(states, TARGETS)) for states in (together, apart)]
    away = 1 / objectives.TEMPERATURE
    assert losses[0] == pytest.approx(2 / 3 * math.log1p(math.exp(-away)), abs=1e-6)
    assert losses[1] == pytest.approx((math.log1p(math.exp(away)) + math.log(2)) / 3, rel=1e-4)


def test_it_is_the_loss_of_the_paper_written_out():
    torch.manual_seed(0)
    states, targets = torch.randn(6, 4), [0, 1, 0, 2, 1, 0]
    units = states / states.norm(dim=1, keepdim=True)
    total = 0.0
    for one in range(6):
        others = [other for other in range(6) if other != one]
        sums = sum(math.exp(float(units[one] @ units[other]) / objectives.TEMPERATURE) for other in others)
        same = [other for other in others if targets[other] == targets[one]]
        logs = [math.log(math.exp(float(units[one] @ units[other]) / objectives.TEMPERATURE) / sums) for other in same]
        total -= sum(logs) / len(logs) if logs else 0.0
    assert float(objectives.supervised_contrastive_loss(states, torch.tensor(targets))) == pytest.approx(total / 6, rel=1e-5)


def test_a_batch_of_single_texts_has_nothing_to_draw_together():
    states = torch.randn(3, 4, requires_grad=True)
    loss = objectives.supervised_contrastive_loss(states, torch.tensor([0, 1, 2]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(states.grad).all()


@pytest.mark.parametrize("targets", [[0, 0, 1], [0, 0, 0]])
def test_the_loss_and_its_gradient_are_finite(targets):
    states = torch.randn(3, 4, requires_grad=True)
    objectives.supervised_contrastive_loss(states, torch.tensor(targets)).backward()
    assert torch.isfinite(states.grad).all()
    assert states.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["gpt2", "bert", "llama"])
def test_training_draws_texts_of_one_label_together(kind):
    model = prepared("contrastive", kind=kind)
    lengths, targets = [5, 3, 7, 4], [0, 0, 1, 1]
    batch = packing.collate(packing.EncodedSplit(tiny.texts(lengths), lengths, targets), range(4))
    task = TextClassification(("a", "b", "c"))
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = objectives.compute_loss(model, batch, task=task) / objectives.compute_weight(model, batch, task=task)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    embeddings = model.network.get_input_embeddings().weight
    assert not embeddings.requires_grad
    assert all(module.p == 0 for module in model.network.modules() if isinstance(module, torch.nn.Dropout))
