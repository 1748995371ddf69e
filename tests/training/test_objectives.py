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


def test_right_pairs_cost_nothing():
    states = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]])  # lengths do not matter
    assert float(objectives.cosine_similarity_loss(states, TARGETS)) == pytest.approx(0.0, abs=1e-12)


def test_the_two_kinds_of_pairs_weigh_alike():
    half = math.sqrt(0.5)
    states = torch.tensor([[1.0, 0.0], [half, half], [half, half]])
    alike, others = (half - 1) ** 2, (half**2 + 1) / 2
    assert float(objectives.cosine_similarity_loss(states, TARGETS)) == pytest.approx((alike + others) / 2)


@pytest.mark.parametrize("targets", [[0, 1, 2], [0, 0, 0]])
def test_a_batch_with_one_kind_of_pairs_has_a_finite_loss_and_gradient(targets):
    states = torch.randn(3, 4, requires_grad=True)
    objectives.cosine_similarity_loss(states, torch.tensor(targets)).backward()
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
