"""All of it together: the same scores and gradients, and the sketch shaped like the network."""

import pytest
import torch

import tiny
from finewright import fast, memory, methods, tasks
from finewright.attention import Layout

LENGTHS = (2, 4, 4, 7)


def scores_and_gradients(tuned):
    tuned.owner.eval()
    ids = torch.tensor([token for one in tiny.texts(list(LENGTHS)) for token in one])
    scores = tasks.logits(tuned, ids, Layout(LENGTHS))
    scores.pow(2).sum().backward()
    return scores.detach(), {name: parameter.grad for name, parameter in tuned.trainable().items()}


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox", "bert", "bloom"])
def test_scores_and_gradients_are_those_of_the_plain_path(kind, name):
    scores, gradients = scores_and_gradients(tiny.prepared(kind, name))
    tuned = tiny.prepared(kind, name)
    fast.apply(tuned)
    fast_scores, fast_gradients = scores_and_gradients(tuned)
    torch.testing.assert_close(fast_scores, scores, atol=2e-6, rtol=1e-6)
    for key, gradient in gradients.items():
        torch.testing.assert_close(fast_gradients[key], gradient, atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["lora", "full"])
def test_in_bfloat16_scores_stay_within_its_rounding(name):
    scores, _ = scores_and_gradients(tiny.prepared("gpt2", name))
    plain, _ = scores_and_gradients(tiny.prepared("gpt2", name, bfloat16=True))
    tuned = tiny.prepared("gpt2", name, bfloat16=True)
    fast.apply(tuned)
    ours, _ = scores_and_gradients(tuned)
    rounding = float((plain - scores).abs().max())
    assert float((ours - scores).abs().max()) < 2 * rounding + 1e-3


@pytest.mark.parametrize("name", methods.names())
def test_what_is_saved_and_what_is_trained_stay_as_they_were(name):
    plain, tuned = tiny.prepared("gpt2", name), tiny.prepared("gpt2", name)
    fast.apply(tuned)
    fast.apply(tuned)  # again, as at the end of training
    assert tuned.trainable().keys() == plain.trainable().keys()
    ours, theirs = tuned.owner.state_dict(), plain.owner.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_frozen_matrices_of_an_adapter_are_packed_and_a_gpus_are_not():
    tuned = tiny.prepared("gpt2", "lora", bfloat16=True)
    fast.apply(tuned, device="cuda")
    block = tuned.network.transformer.h[0]
    assert not hasattr(block.mlp.c_fc, "packed")
    fast.apply(tuned)
    packable = fast.kernels.can_pack(torch.bfloat16)
    assert hasattr(block.mlp.c_fc, "packed") == packable
    assert not hasattr(block.attn.c_attn.lora_A["default"], "packed")


def test_a_large_network_is_not_held_twice(monkeypatch):
    monkeypatch.setattr(fast, "MOST_PACKED_NUMBERS", 3 * 12 * 32 * 32 - 1)
    tuned = tiny.prepared("gpt2", "freeze")
    fast.apply(tuned)
    assert not any(hasattr(module, "packed") for module in tuned.network.modules())
    monkeypatch.setattr(fast, "MOST_PACKED_NUMBERS", 3 * 12 * 32 * 32)
    tuned.network.requires_grad_(False)
    fast.apply(tuned)
    packable = fast.kernels.can_pack(torch.float32)
    assert hasattr(tuned.network.transformer.h[0].mlp.c_fc, "packed") == packable
    fast.apply(tuned)
    assert sum(map(fast.kernels.num_numbers, tuned.network.transformer.h.modules())) == 3 * 12 * 32 * 32


def sketched(kind, name):
    with torch.device("meta"):
        tuned = tiny.prepared(kind, name)
    fast.apply(tuned)
    return {what: (value, reason) for what, value, reason in fast.told(tuned, device="cpu")}


def test_what_is_done_for_speed_is_told_with_its_reason_and_nothing_else(monkeypatch):
    parts = "the last block only where the head reads; activations and dropout in one pass over memory"
    assert sketched("gpt2", "full") == {"fast.parts": (parts, "it computes the same with less work")}
    assert sketched("llama", "full")["fast.parts"][0] == "the last block only where the head reads"
    assert sketched("bloom", "full").get("fast.parts", ("",))[0].startswith("dropout in one pass")
    monkeypatch.setattr(fast.kernels, "can_pack", lambda dtype: True)
    value, reason = sketched("gpt2", "lora")["fast.copies"]
    numbers = 3 * (32 * 96 + 32 * 32 + 2 * 32 * 128)
    assert (value, reason.split(" of ")[0]) == ("on", memory.in_words(4 * numbers))
    assert "up to 300 million numbers" in reason
    monkeypatch.setattr(fast, "MOST_PACKED_NUMBERS", 1000)
    value, reason = sketched("gpt2", "lora")["fast.copies"]
    assert value == "off"
    assert "would be too much" in reason
