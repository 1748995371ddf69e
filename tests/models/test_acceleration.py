"""All accelerations together: the same scores and gradients, and the meta model like the network."""

import pytest
import torch

from finewright import methods
from finewright.core import units
from finewright.data.layout import PackedLayout
from finewright.models import acceleration, forward
from support import tiny

LENGTHS = (2, 4, 4, 7)


def scores_and_gradients(prepared_model):
    prepared_model.trainable_module.eval()
    ids = torch.tensor([token for one in tiny.texts(list(LENGTHS)) for token in one])
    scores = forward.compute_logits(prepared_model, ids, PackedLayout(LENGTHS))
    scores.pow(2).sum().backward()
    return scores.detach(), {name: parameter.grad for name, parameter in prepared_model.trainable().items()}


@pytest.mark.parametrize("name", methods.method_names())
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox", "bert", "bloom"])
def test_scores_and_gradients_equal_those_of_the_plain_network(kind, name):
    scores, gradients = scores_and_gradients(tiny.prepared(kind, name))
    prepared_model = tiny.prepared(kind, name)
    acceleration.accelerate(prepared_model)
    fast_scores, fast_gradients = scores_and_gradients(prepared_model)
    torch.testing.assert_close(fast_scores, scores, atol=2e-6, rtol=1e-6)
    for key, gradient in gradients.items():
        torch.testing.assert_close(fast_gradients[key], gradient, atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["lora", "full"])
def test_in_bfloat16_scores_differ_by_rounding_only(name):
    scores, _ = scores_and_gradients(tiny.prepared("gpt2", name))
    plain, _ = scores_and_gradients(tiny.prepared("gpt2", name, bfloat16=True))
    prepared_model = tiny.prepared("gpt2", name, bfloat16=True)
    acceleration.accelerate(prepared_model)
    ours, _ = scores_and_gradients(prepared_model)
    rounding = float((plain - scores).abs().max())
    assert float((ours - scores).abs().max()) < 2 * rounding + 1e-3


@pytest.mark.parametrize("name", methods.method_names())
def test_saved_and_trained_tensors_stay_the_same(name):
    plain, prepared_model = tiny.prepared("gpt2", name), tiny.prepared("gpt2", name)
    acceleration.accelerate(prepared_model)
    acceleration.accelerate(prepared_model)  # again, as at the end of training
    assert prepared_model.trainable().keys() == plain.trainable().keys()
    ours, theirs = prepared_model.trainable_module.state_dict(), plain.trainable_module.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_frozen_matrices_of_an_adapter_are_packed_and_a_gpus_are_not():
    prepared_model = tiny.prepared("gpt2", "lora", bfloat16=True)
    acceleration.accelerate(prepared_model, device="cuda")
    layer = prepared_model.network.transformer.h[0]
    assert not hasattr(layer.mlp.c_fc, "packed")
    acceleration.accelerate(prepared_model)
    packable = acceleration.kernels.can_pack(torch.bfloat16)
    assert hasattr(layer.mlp.c_fc, "packed") == packable
    assert not hasattr(layer.attn.c_attn.lora_A["default"], "packed")


def test_a_large_network_is_not_packed(monkeypatch):
    monkeypatch.setattr(acceleration, "MAX_PACKED_PARAMETERS", 3 * 12 * 32 * 32 - 1)
    prepared_model = tiny.prepared("gpt2", "freeze")
    acceleration.accelerate(prepared_model)
    assert not any(hasattr(module, "packed") for module in prepared_model.network.modules())
    monkeypatch.setattr(acceleration, "MAX_PACKED_PARAMETERS", 3 * 12 * 32 * 32)
    prepared_model.network.requires_grad_(False)
    acceleration.accelerate(prepared_model)
    packable = acceleration.kernels.can_pack(torch.float32)
    assert hasattr(prepared_model.network.transformer.h[0].mlp.c_fc, "packed") == packable
    acceleration.accelerate(prepared_model)
    assert sum(map(acceleration.kernels.count_matrix_weights, prepared_model.network.transformer.h.modules())) == 3 * 12 * 32 * 32


def describe_meta(kind, name):
    with torch.device("meta"):
        prepared_model = tiny.prepared(kind, name)
    acceleration.accelerate(prepared_model)
    return {what: (value, reason) for what, value, reason in acceleration.describe_acceleration(prepared_model, device="cpu")}


def test_only_what_is_done_is_described_with_its_reason(monkeypatch):
    parts = "the last layer only for the tokens the head reads; activations and dropout in one pass over memory"
    assert describe_meta("gpt2", "full") == {"fast.parts": (parts, "it computes the same with less work")}
    assert describe_meta("llama", "full")["fast.parts"][0] == "the last layer only for the tokens the head reads"
    assert describe_meta("bloom", "full").get("fast.parts", ("",))[0].startswith("dropout in one pass")
    monkeypatch.setattr(acceleration.kernels, "can_pack", lambda dtype: True)
    value, reason = describe_meta("gpt2", "lora")["fast.copies"]
    numbers = 3 * (32 * 96 + 32 * 32 + 2 * 32 * 128)
    assert (value, reason.split(" for ")[0]) == ("on", units.format_bytes(4 * numbers))
    assert "up to 300 million parameters" in reason
    monkeypatch.setattr(acceleration, "MAX_PACKED_PARAMETERS", 1000)
    value, reason = describe_meta("gpt2", "lora")["fast.copies"]
    assert value == "off"
    assert "would be too much" in reason
