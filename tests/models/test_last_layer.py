"""The last layer only for pooled tokens: the same scores and gradients with less work."""

import pytest
import torch

from finewright import methods
from finewright.data.layout import PackedLayout
from finewright.models import architectures, forward, last_layer
from finewright.models import prepared as prepared_module
from support import tiny

PACKABLE = [kind for kind in tiny.CONFIGS if not architectures.architecture_of(tiny.CONFIGS[kind]()).not_packable]
LENGTHS = (1, 3, 3, 5, 9)
METHODS = {
    "everything": ("full", {}),
    "top layer": ("freeze", {"num_layers": 1}),
    "adapters everywhere": ("lora", {"target_modules": "all-linear", "dropout": 0.0}),
    "prompt": ("prompt", {"num_virtual_tokens": 4}),
}


def prepared(kind, method):
    name, options = METHODS[method]
    base = tiny.base_network(tiny.network(kind))
    torch.manual_seed(3)
    return methods.build_method(name, options).prepare(base)


def scores_and_gradients(prepared_model, lengths=LENGTHS):
    for name, parameter in prepared_model.trainable().items():  # B of an adapter starts at zero, where mistakes can hide
        if "lora_B" in name:
            torch.manual_seed(len(name))
            parameter.data = torch.randn_like(parameter) * 0.1
    ids = torch.tensor([token for one in tiny.texts(list(lengths)) for token in one])
    scores = forward.compute_logits(prepared_model, ids, PackedLayout(tuple(lengths)))
    scores.pow(2).sum().backward()
    return scores.detach(), {name: parameter.grad for name, parameter in prepared_model.trainable().items()}


CASES = [(kind, method) for kind in PACKABLE for method in METHODS]


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_scores_and_gradients_are_those_of_the_whole_row(kind, method):
    scores, gradients = scores_and_gradients(prepared(kind, method))
    prepared_model = prepared(kind, method)
    prepared_model.runtime.pooled_last_layer = last_layer.install_pooled_last_layer(
        prepared_model.network, architecture=prepared_model.architecture
    )
    assert prepared_model.runtime.pooled_last_layer is not None
    narrow_scores, narrow_gradients = scores_and_gradients(prepared_model)
    assert scores.std() > 1e-3
    torch.testing.assert_close(narrow_scores, scores, atol=1e-6, rtol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(narrow_gradients[name], gradient, atol=2e-6, rtol=1e-5, msg=name)


def count_mlp_rows(prepared_model, lengths):
    """Rows that pass through the last layer's MLP."""
    seen = []
    layer = prepared_model.network.get_submodule(prepared_model.architecture.layers)[-1]
    module = layer.get_submodule(prepared_model.architecture.projections["mlp"][0])
    handle = module.register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    scores_and_gradients(prepared_model, lengths)
    handle.remove()
    return seen


@pytest.mark.parametrize("kind", PACKABLE)
def test_the_last_mlp_gets_one_row_of_each_text(kind):
    prepared_model = prepared(kind, "everything")
    assert count_mlp_rows(prepared_model, LENGTHS) == [sum(LENGTHS)]
    prepared_model.runtime.pooled_last_layer = last_layer.install_pooled_last_layer(
        prepared_model.network, architecture=prepared_model.architecture
    )
    assert count_mlp_rows(prepared_model, LENGTHS) == [len(LENGTHS)]
    assert count_mlp_rows(prepared_model, (1, 1, 1)) == [3]
    assert count_mlp_rows(prepared_model, LENGTHS) == [len(LENGTHS)]


def test_texts_of_one_token_run_in_full():
    prepared_model = prepared("gpt2", "everything")
    prepared_model.runtime.pooled_last_layer = last_layer.install_pooled_last_layer(
        prepared_model.network, architecture=prepared_model.architecture
    )
    scores_and_gradients(prepared_model, (1, 1))
    assert prepared_model.runtime.pooled_last_layer.states is None
    assert not prepared_model.runtime.pooled_last_layer.active


@pytest.mark.parametrize("kind", ["bloom", "opt"])
def test_padded_architectures_run_over_the_whole_row(kind):
    assert last_layer.install_pooled_last_layer(tiny.network(kind), architecture=tiny.prepared_model(kind).architecture) is None


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_a_checkpointed_last_layer_is_cut_again_in_the_backward_pass(kind):
    """With gradient checkpointing the hooks run again."""
    prepared_model = prepared(kind, "everything")
    prepared_model.runtime.pooled_last_layer = last_layer.install_pooled_last_layer(
        prepared_model.network, architecture=prepared_model.architecture
    )
    scores, gradients = scores_and_gradients(prepared_model)
    again = prepared(kind, "everything")
    again.runtime.pooled_last_layer = last_layer.install_pooled_last_layer(again.network, architecture=again.architecture)
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


@pytest.mark.parametrize(("kind", "method"), [case for case in CASES if case[0] in ("gpt2", "llama", "bert")])
def test_with_frozen_weights_in_bfloat16_too(kind, method):
    def half():
        prepared_model = prepared(kind, method)
        prepared_module.use_bfloat16(prepared_model)
        return prepared_model

    scores, gradients = scores_and_gradients(half())
    prepared_model = half()
    prepared_model.runtime.pooled_last_layer = last_layer.install_pooled_last_layer(
        prepared_model.network, architecture=prepared_model.architecture
    )
    narrow_scores, narrow_gradients = scores_and_gradients(prepared_model)
    assert not torch.equal(scores, scores_and_gradients(prepared(kind, method))[0]), "the products were in float32"
    torch.testing.assert_close(narrow_scores, scores, atol=1e-6, rtol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(narrow_gradients[name], gradient, atol=2e-6, rtol=1e-5, msg=name)
