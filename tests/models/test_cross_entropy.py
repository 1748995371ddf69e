"""The losses of tokens are those of PyTorch, in parts, with the gradients of PyTorch."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from finewright.models import cross_entropy
from finewright.models.cross_entropy import OutputLayer

M, H, V = 37, 8, 29


def make_layer(*, has_bias: bool, trained: bool, scale: float = 1.0, softcap: float = 0.0) -> OutputLayer:
    weight = torch.randn(V, H, requires_grad=trained)
    bias = torch.randn(V, requires_grad=trained) if has_bias else None
    return OutputLayer(weight, weight.detach(), bias, scale, softcap)


def whole_losses(states: torch.Tensor, targets: torch.Tensor, layer: OutputLayer, smoothing: float) -> torch.Tensor:
    """The same by PyTorch, with all scores at once."""
    scores = (states @ layer.weight.T + (0 if layer.bias is None else layer.bias)) * layer.scale
    scores = torch.tanh(scores / layer.softcap) * layer.softcap if layer.softcap else scores
    return F.cross_entropy(scores, targets, reduction="none", label_smoothing=smoothing)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("scale", "softcap", "smoothing"), [(1.0, 0.0, 0.0), (0.25, 0.0, 0.1), (3.0, 2.0, 0.0), (0.5, 1.5, 0.2)])
def test_losses_and_gradients_are_those_of_pytorch(monkeypatch, trained, has_bias, scale, softcap, smoothing):
    monkeypatch.setattr(cross_entropy, "count_at_once", lambda vocabulary: 10)  # several parts, the last one shorter
    torch.manual_seed(0)
    layer = make_layer(has_bias=has_bias, trained=trained, scale=scale, softcap=softcap)
    states, targets, slopes = torch.randn(M, H), torch.randint(V, (M,)), torch.randn(M)
    learnt = [one for one in (layer.weight, layer.bias) if one is not None and one.requires_grad]
    found = []
    for losses_of in (
        lambda own: cross_entropy.token_losses(own, targets, layer=layer, label_smoothing=smoothing),
        lambda own: whole_losses(own, targets, layer, smoothing),
    ):
        own = states.clone().requires_grad_()
        losses = losses_of(own)
        found.append((losses.detach(), *torch.autograd.grad((losses * slopes).sum(), [own, *learnt])))
    assert len(found[0]) == 2 + trained * (1 + has_bias)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_frozen_layer_gets_no_gradient_and_frozen_states_need_none():
    layer = make_layer(has_bias=False, trained=False)
    losses = cross_entropy.token_losses(torch.randn(M, H), torch.randint(V, (M,)), layer=layer)
    assert not losses.requires_grad
    assert losses.shape == (M,)
    trained = make_layer(has_bias=False, trained=True)
    cross_entropy.token_losses(torch.randn(M, H), torch.randint(V, (M,)), layer=trained).sum().backward()
    assert trained.weight.grad is not None
    assert trained.weight.grad.abs().sum() > 0


def test_few_scores_are_in_memory_at_once(monkeypatch):
    seen = []
    plain = OutputLayer.scores
    monkeypatch.setattr(OutputLayer, "scores", lambda self, states: seen.append(len(states)) or plain(self, states))
    monkeypatch.setattr(cross_entropy, "MOST_SCORES", 20 * V)
    cross_entropy.token_losses(torch.randn(M, H), torch.randint(V, (M,)), layer=make_layer(has_bias=False, trained=False))
    assert seen == [20, M - 20]


def test_targets_are_scored_with_what_the_model_would_say():
    torch.manual_seed(1)
    layer, states = make_layer(has_bias=False, trained=False), torch.randn(M, H)
    best = (states @ layer.weight.T).argmax(dim=1)
    targets = torch.where(torch.arange(M) < 20, best, (best + 1) % V)
    losses, right = cross_entropy.score_targets(states, targets, layer=layer)
    assert right.tolist() == [place < 20 for place in range(M)]
    torch.testing.assert_close(losses, whole_losses(states, targets, layer, 0.0))


@pytest.mark.parametrize(
    ("config", "scale", "softcap"),
    [
        ({}, 1.0, 0.0),
        ({"logits_scaling": 4.0}, 0.25, 0.0),
        ({"logit_scale": 0.0625}, 0.0625, 0.0),
        ({"final_logit_softcapping": 30.0}, 1.0, 30.0),
        ({"final_logit_softcapping": None, "logit_scale": None}, 1.0, 0.0),
    ],
)
def test_what_an_architecture_does_with_its_scores_is_read_from_its_config(config, scale, softcap):
    head = torch.nn.Linear(H, V, bias=False)
    network = SimpleNamespace(config=SimpleNamespace(**config), get_output_embeddings=lambda: head)
    layer = cross_entropy.read_output_layer(network, bfloat16=False)
    assert (layer.scale, layer.softcap, layer.bias) == (scale, softcap, None)


def test_frozen_weight_is_rounded_once_and_a_trained_one_each_time():
    head = torch.nn.Linear(H, V, bias=False)
    network = SimpleNamespace(config=SimpleNamespace(), get_output_embeddings=lambda: head)
    assert cross_entropy.read_output_layer(network, bfloat16=True).multiplied.dtype == torch.bfloat16
    with torch.no_grad():
        head.weight.zero_()
    assert not cross_entropy.read_output_layer(network, bfloat16=True).multiplied.any()
    head.weight.requires_grad_(False)
    first = cross_entropy.read_output_layer(network, bfloat16=True).multiplied
    assert cross_entropy.read_output_layer(network, bfloat16=True).multiplied is first
