"""A language model on packed rows computes what transformers computes, text by text, for every decoder that is described."""

import pytest
import torch
from torch.nn import functional as F

from finewright.core.errors import UserError
from finewright.models import architectures, cross_entropy, forward
from finewright.models.head_spec import LANGUAGE_MODEL
from support import chats, families, tiny

LENGTHS = [5, 12, 1, 9, 9]
MARKS = [[0, 0, 1, 1, 1], [0, *[1] * 11], [0], [0, 0, 0, 1, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 1]]

WITH_MORE_BEFORE_THE_SCORES = ("modernbert-decoder",)
"""A dense layer and a norm stand before its output layer."""


def decoders():
    kinds = dict.fromkeys([*tiny.CONFIGS, *families.CONFIGS])
    return [kind for kind in kinds if architectures.architecture_of(tiny.build_config(kind)).is_causal]


def has_language_model(config):
    import transformers

    return type(config) in transformers.AutoModelForCausalLM._model_mapping


@pytest.mark.parametrize("kind", decoders())
def test_packed_losses_are_those_of_transformers(kind):
    config = tiny.build_config(kind)
    if not has_language_model(config):
        with pytest.raises(UserError, match="cannot continue a text"):
            chats.network(kind)
        return
    if kind in WITH_MORE_BEFORE_THE_SCORES:
        with pytest.raises(UserError, match="does more than multiply"):
            cross_entropy.check_output_layer(chats.network(kind, is_packed=False), architectures.architecture_of(config))
        return
    ids = tiny.texts(LENGTHS)
    ours = chats.prepared_model(chats.network(kind))
    stock = chats.network(kind, is_packed=False)
    cross_entropy.check_output_layer(stock, ours.architecture)
    with torch.no_grad():
        outputs = forward.compute_outputs(ours, made := chats.batch(ids, MARKS))
        for row, place in enumerate(made.rows):
            own, marks = torch.tensor([ids[place]]), torch.tensor(MARKS[place], dtype=torch.bool)
            logits = stock(input_ids=own).logits[0, :-1].float()
            losses = F.cross_entropy(logits, own[0, 1:], reduction="none")[marks[1:]]
            right = (logits.argmax(dim=1) == own[0, 1:])[marks[1:]].sum()
            assert float(outputs[row, 0]) == pytest.approx(float(losses.sum()), abs=2e-4)
            assert outputs[row, 1:].tolist() == [len(losses), int(right)]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_a_text_has_the_same_losses_alone_and_in_any_batch(kind):
    ids, model = tiny.texts(LENGTHS), chats.prepared_model(chats.network(kind))
    with torch.no_grad():
        together = forward.compute_outputs(model, made := chats.batch(ids, MARKS))
        for row, place in enumerate(made.rows):
            alone = forward.compute_outputs(model, chats.batch([ids[place]], [MARKS[place]]))
            torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_gradients_are_those_of_transformers(kind):
    """Tied and untied output layers; every trained token weighs the same, whatever text it is in."""
    ids = tiny.texts(LENGTHS)
    model, stock = chats.prepared_model(chats.network(kind)), chats.network(kind, is_packed=False)
    made = chats.batch(ids, MARKS)
    (forward.compute_token_losses(model, made).sum() / len(made.targets)).backward()
    total = torch.zeros(())
    for own, marks in zip(ids, MARKS, strict=True):
        tokens = torch.tensor([own])
        wanted = torch.tensor(own[1:], dtype=torch.long).masked_fill(~torch.tensor(marks[1:], dtype=torch.bool), -100)
        total = total + F.cross_entropy(stock(input_ids=tokens).logits[0, :-1], wanted, reduction="sum")
    (total / len(made.targets)).backward()
    gradients = dict(stock.named_parameters())
    assert gradients
    for name, parameter in model.network.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, atol=1e-5, rtol=1e-4)


def test_noise_depends_on_the_length_of_each_text_and_only_training_has_it():
    model = chats.prepared_model(chats.network("llama"), embedding_noise=5.0)
    width = model.network.config.hidden_size
    made = chats.batch(tiny.texts([4, 16]), [[0, 1, 1, 1], [0, *[1] * 15]])
    torch.manual_seed(0)
    states = torch.zeros(20, width)
    noise = forward._with_noise(states, made.layout, alpha=5.0)
    for part, length in zip(noise.split([4, 16]), (4, 16), strict=True):
        bound = 5.0 / (length * width) ** 0.5
        assert 0.8 * bound < float(part.abs().max()) <= bound
    with torch.no_grad():
        first, again = (forward.compute_outputs(model, made) for _ in range(2))
    assert torch.equal(first, again)
    noisy = forward.compute_token_losses(model, made).detach()
    assert float(noisy.sum()) != pytest.approx(float(first[:, 0].sum()), rel=1e-4)


def test_an_encoder_is_refused_by_name():
    with pytest.raises(UserError, match="bert reads a text in both directions"):
        architectures.architecture_for(tiny.build_config("bert"), auto_model=LANGUAGE_MODEL)
