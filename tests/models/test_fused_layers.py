"""Parts that save less for the backward pass: outputs bit for bit, gradients to rounding."""

import copy

import pytest
import torch
from torch import nn

from finewright.models import fused_layers
from support import families, tiny

KINDS = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "granite", "cohere", "olmo2", "gpt2", "bert", "phi3"]


def pieces(network):
    return [module for module in network.modules() if getattr(module, "is_fused", False)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in (tiny.CONFIGS | families.CONFIGS)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_are_equal_bit_for_bit_and_gradients_to_rounding(kind, dtype):
    """`dtype`: that matrix products are computed in."""
    plain = tiny.network(kind, packed=False)
    fused = copy.deepcopy(plain)
    fused_layers.fuse_layers(fused)
    assert bool(pieces(fused)) == (kind not in ("gemma2", "gpt2", "bert"))
    ids, mask = torch.tensor(tiny.texts([9, 9])), torch.ones(2, 9, dtype=torch.long)
    found = []
    for network in (plain, fused):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16):
            found_states = network(input_ids=ids, attention_mask=mask)
            scores = getattr(found_states, "logits", found_states[0]).float()
        scores.square().sum().backward()
        found.append((scores.detach(), {name: one.grad for name, one in network.named_parameters()}))
    assert torch.equal(found[0][0], found[1][0])
    for name, gradient in found[0][1].items():
        scale = 0 if gradient is None else float(gradient.abs().max())
        if gradient is not None:
            torch.testing.assert_close(found[1][1][name], gradient, atol=max(1e-6, 0.02 * scale), rtol=0.02)


def test_state_has_the_same_names():
    plain = tiny.network("llama")
    fused = copy.deepcopy(plain)
    fused_layers.fuse_layers(fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    fused_layers.fuse_layers(fused)
    assert all(type(module).__mro__[1].__module__.startswith("transformers") for module in pieces(fused)), "fused once"


@pytest.mark.parametrize("trained", [True, False])
def test_gradients_of_the_norm_are_right(trained):
    torch.manual_seed(0)
    states = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, dtype=torch.float64, requires_grad=trained)

    def plain(states, weight):
        wide = states.float()
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(states.dtype)

    inputs = [states, weight] if trained else [states]
    expected = torch.autograd.grad(plain(states, weight).pow(3).sum(), inputs)
    found = torch.autograd.grad(fused_layers._RmsNorm.apply(states, weight, 1e-5).pow(3).sum(), inputs)
    for own, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(own, wanted, atol=1e-4, rtol=1e-4)


def test_another_activation_stays_as_it_is():
    config = tiny.build_config("llama")
    config.hidden_act = "gelu"
    network = tiny.network("llama", config=config)
    fused_layers.fuse_layers(network)
    assert not any(hasattr(module, "gate_proj") for module in pieces(network))
    assert any(isinstance(module, nn.Module) for module in pieces(network)), "the norms are"
