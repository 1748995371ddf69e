"""One training step against plain PyTorch on the stock model."""

import pytest
import torch

from finewright import methods
from finewright.data import packing
from finewright.models import prepared
from finewright.tasks.text_classification import TextClassification
from finewright.training.step import train_step
from support import tiny

TASK = TextClassification(("a", "b", "c"))
LENGTHS, TARGETS = [5, 2, 9, 5, 7, 3], [0, 1, 2, 1, 0, 2]


def encoded():
    ids = [[max(token, 2) for token in one] for one in tiny.texts(LENGTHS)]  # the stock models look for padding ids 0 and 1
    return packing.EncodedSplit(ids, LENGTHS, TARGETS)


def parts(*groups):
    return [packing.collate(encoded(), group) for group in groups]


def one_step(prepared_model, groups, *, task=TASK, lr=0.1, max_grad_norm=0.0):
    optimizer = torch.optim.SGD(prepared_model.trainable().values(), lr=0.0)
    return train_step(prepared_model, parts(*groups), task=task, optimizer=optimizer, lr=lr, max_grad_norm=max_grad_norm)


def stock_gradients(kind, weight):
    """Padded, with the stock model's own loss, as other programs compute it."""
    stock = tiny.network(kind, packed=False)
    width = max(LENGTHS)
    pad = stock.config.pad_token_id
    ids = torch.tensor([one + [pad] * (width - len(one)) for one in encoded().ids])
    mask = torch.tensor([[1] * length + [0] * (width - length) for length in LENGTHS])
    logits = stock(input_ids=ids, attention_mask=mask).logits
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(TARGETS), weight=weight)
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in stock.named_parameters()}


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "roberta", "gpt_neox"])
@pytest.mark.parametrize("groups", [[range(6)], [[0, 1], [2, 3, 4], [5]]], ids=["one micro-batch", "three micro-batches"])
@pytest.mark.parametrize("weight", [None, (1.0, 3.0, 0.5)], ids=["plain", "weighted"])
def test_gradients_equal_the_padded_stock_model(kind, groups, weight):
    """With accumulation too: upstream trainers scale that loss wrongly (transformers#47688)."""
    prepared_model = tiny.prepared_model(kind)
    result = one_step(prepared_model, groups, task=TextClassification(TASK.labels, weight), lr=0.0)
    loss, expected = stock_gradients(kind, None if weight is None else torch.tensor(weight))
    assert result.loss == pytest.approx(loss, abs=1e-5)
    for name, parameter in prepared_model.trainable_module.named_parameters():
        theirs = expected[name]
        if parameter.grad is None:
            assert theirs is None or not theirs.any(), name
        else:
            torch.testing.assert_close(parameter.grad, theirs, atol=2e-5, rtol=1e-4, msg=name)


def test_a_clipped_step_has_the_maximum_norm():
    prepared_model = tiny.prepared_model("gpt2")
    before = {name: p.detach().clone() for name, p in prepared_model.trainable().items()}
    result = one_step(prepared_model, [range(6)], lr=1.0, max_grad_norm=0.01)
    moved = sum(float((p.detach() - before[name]).pow(2).sum()) for name, p in prepared_model.trainable().items()) ** 0.5
    assert result.grad_norm > 0.01
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_a_non_finite_step_is_not_applied():
    prepared_model = tiny.prepared_model("gpt2")
    before = prepared_model.network.transformer.h[0].mlp.c_fc.weight.detach().clone()
    prepared_model.network.score.weight.data[0, 0] = float("nan")
    result = one_step(prepared_model, [range(6)])
    assert not result.applied
    assert torch.equal(prepared_model.network.transformer.h[0].mlp.c_fc.weight, before)


def test_bfloat16_leaves_trained_weights_and_scores_in_float32_and_trains_the_head():
    """A bfloat16 head would hardly change at a small learning rate: the updates are below its precision."""
    net = tiny.network("gpt2")
    prepared_model = methods.build_method("lora", {}).prepare(tiny.base_network(net))
    prepared.use_bfloat16(prepared_model)
    assert net.transformer.h[0].mlp.c_fc.weight.dtype == torch.bfloat16
    assert all(parameter.dtype == torch.float32 for parameter in prepared_model.trainable().values())
    head = next(p for name, p in prepared_model.trainable().items() if "score" in name)
    before = head.detach().clone()
    for _ in range(5):
        one_step(prepared_model, [range(6)], lr=1e-5)
    assert (head != before).float().mean() > 0.95
    assert tiny.scores(prepared_model, tiny.texts([4])).dtype == torch.float32


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_several_micro_batches_in_bfloat16_equal_one(kind, method):
    def gradients(groups, *, bfloat16=True):
        net = tiny.network(kind)
        torch.manual_seed(3)
        options = {"dropout": 0.0} if method == "lora" else {}
        prepared_model = methods.build_method(method, options).prepare(tiny.base_network(net))
        if bfloat16:
            prepared.use_bfloat16(prepared_model)
        loss = one_step(prepared_model, groups, lr=0.0).loss
        return loss, {name: p.grad for name, p in prepared_model.trainable().items() if p.grad is not None}

    loss, whole = gradients([range(6)])
    split_loss, split = gradients([[0, 1], [2, 3, 4], [5]])
    exact_loss, _ = gradients([range(6)], bfloat16=False)
    assert loss != exact_loss, "the matrix products were in float32"
    assert split_loss == pytest.approx(loss, abs=1e-6)
    for name, gradient in whole.items():
        assert float((split[name] - gradient).norm()) <= 0.01 * float(gradient.norm()), name
