"""The last block only where the head reads: the same scores and gradients, less work."""

import pytest
import torch

import tiny
from finewright import anatomy as anatomies
from finewright import methods, models, narrow, tasks
from finewright.attention import Layout

PACKABLE = [kind for kind in tiny.CONFIGS if not anatomies.of(tiny.CONFIGS[kind]()).unpackable]
LENGTHS = (1, 3, 3, 5, 9)
WAYS = {
    "everything": ("full", {}),
    "top block": ("freeze", {"blocks": 1}),
    "adapters everywhere": ("lora", {"target": "all-linear", "dropout": 0.0}),
    "prompt": ("prompt", {"tokens": 4}),
}


def prepared(kind, way):
    name, knobs = WAYS[way]
    net = tiny.network(kind)
    anatomy = anatomies.of(net.config)
    torch.manual_seed(3)
    return methods.make(name, knobs).prepare(net, anatomy=anatomy, head=anatomy.head, origin=tiny.ORIGIN)


def scores_and_gradients(tuned, lengths=LENGTHS):
    for name, parameter in tuned.trainable().items():  # B of an adapter starts at zero, where mistakes can hide
        if "lora_B" in name:
            torch.manual_seed(len(name))
            parameter.data = torch.randn_like(parameter) * 0.1
    ids = torch.tensor([token for one in tiny.texts(list(lengths)) for token in one])
    scores = tasks.logits(tuned, ids, Layout(tuple(lengths)))
    scores.pow(2).sum().backward()
    return scores.detach(), {name: parameter.grad for name, parameter in tuned.trainable().items()}


CASES = [(kind, way) for kind in PACKABLE for way in WAYS]


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_scores_and_gradients_are_those_of_the_whole_row(kind, way):
    scores, gradients = scores_and_gradients(prepared(kind, way))
    tuned = prepared(kind, way)
    tuned.last_block = narrow.install(tuned.network, anatomy=tuned.anatomy)
    assert tuned.last_block is not None
    narrow_scores, narrow_gradients = scores_and_gradients(tuned)
    assert scores.std() > 1e-3
    torch.testing.assert_close(narrow_scores, scores, atol=1e-6, rtol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(narrow_gradients[name], gradient, atol=2e-6, rtol=1e-5, msg=name)


def rows_through(tuned, lengths):
    """Rows that pass through the last block's MLP."""
    seen = []
    block = tuned.network.get_submodule(tuned.anatomy.blocks)[-1]
    module = block.get_submodule(tuned.anatomy.parts["mlp"][0])
    handle = module.register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    scores_and_gradients(tuned, lengths)
    handle.remove()
    return seen


@pytest.mark.parametrize("kind", PACKABLE)
def test_one_row_of_each_text_passes_through_the_last_mlp(kind):
    tuned = prepared(kind, "everything")
    assert rows_through(tuned, LENGTHS) == [sum(LENGTHS)]
    tuned.last_block = narrow.install(tuned.network, anatomy=tuned.anatomy)
    assert rows_through(tuned, LENGTHS) == [len(LENGTHS)]
    assert rows_through(tuned, (1, 1, 1)) == [3]
    assert rows_through(tuned, LENGTHS) == [len(LENGTHS)]


def test_texts_of_one_token_leave_nothing_to_cut():
    tuned = prepared("gpt2", "everything")
    tuned.last_block = narrow.install(tuned.network, anatomy=tuned.anatomy)
    scores_and_gradients(tuned, (1, 1))
    assert tuned.last_block.states is None
    assert not tuned.last_block.active


@pytest.mark.parametrize("kind", ["bloom", "opt"])
def test_padded_architectures_run_over_the_whole_row(kind):
    assert narrow.install(tiny.network(kind), anatomy=tiny.tuned(kind).anatomy) is None


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_blocks_that_are_computed_twice_are_cut_twice(kind):
    """With activation checkpointing the hooks run again on the way back."""
    tuned = prepared(kind, "everything")
    tuned.last_block = narrow.install(tuned.network, anatomy=tuned.anatomy)
    scores, gradients = scores_and_gradients(tuned)
    again = prepared(kind, "everything")
    again.last_block = narrow.install(again.network, anatomy=again.anatomy)
    for module in again.network.modules():
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = lambda run, *args: torch.utils.checkpoint.checkpoint(
                run, *args, use_reentrant=False
            )
    again.network.train()
    for module in again.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    checkpointed_scores, checkpointed_gradients = scores_and_gradients(again)
    torch.testing.assert_close(checkpointed_scores, scores, atol=1e-6, rtol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(checkpointed_gradients[name], gradient, atol=2e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize(("kind", "way"), [case for case in CASES if case[0] in ("gpt2", "llama", "bert")])
def test_with_frozen_weights_in_bfloat16_too(kind, way):
    def half():
        tuned = prepared(kind, way)
        models.use_bfloat16(tuned)
        return tuned

    scores, gradients = scores_and_gradients(half())
    tuned = half()
    tuned.last_block = narrow.install(tuned.network, anatomy=tuned.anatomy)
    narrow_scores, narrow_gradients = scores_and_gradients(tuned)
    assert not torch.equal(scores, scores_and_gradients(prepared(kind, way))[0]), "the products were in float32"
    torch.testing.assert_close(narrow_scores, scores, atol=1e-6, rtol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(narrow_gradients[name], gradient, atol=2e-6, rtol=1e-5, msg=name)
