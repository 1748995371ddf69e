"""A low-rank update in one step of autograd: the numbers of PEFT, with less kept for the backward pass."""

import pytest
import torch
from torch import nn

from finewright import methods
from finewright.data import packing
from finewright.models import acceleration, kernels, prepared
from finewright.models.adapters import fused_lora
from finewright.tasks.text_classification import TextClassification
from finewright.training import optimizer, step
from support import tiny

TASK = TextClassification.assumed(num_labels=3)


def peft_layer(*, dropout=0.0, bias=True, kind=nn.Linear, inputs=24, outputs=40, **options):
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    base = Conv1D(outputs, inputs) if kind == "conv1d" else nn.Linear(inputs, outputs, bias=bias)
    whole = nn.Sequential()
    whole.add_module("layer", base)
    options |= {"fan_in_fan_out": kind == "conv1d", "init_lora_weights": False}
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["layer"], **options)
    made = inject_adapter_in_model(config, whole)
    made.layer.base_layer.requires_grad_(False)
    made.layer.base_layer.to(torch.bfloat16)
    return made


def run(module, states, *, seed=5):
    """Output, the gradient of the states, and of A and B."""
    torch.manual_seed(seed)
    states = states.clone().requires_grad_()
    module.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(states)
    output.float().square().mean().backward()
    layer = module.layer
    return [output.detach().float(), states.grad, layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad]


def is_close(found, expected):
    return all(
        float((one - other).abs().max()) <= 0.02 * float(other.abs().max()) for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("kind", ["linear", "no bias", "conv1d"])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_numbers_are_those_of_peft_with_the_same_dropout(rate, kind, packs):
    module = peft_layer(dropout=rate, bias=kind != "no bias", kind=kind)
    kernels.fuse(module)  # PEFT's dropout draws what ours draws
    if packs and kernels.is_packable(module.layer.base_layer):
        kernels.pack(module.layer.base_layer)
    module.train()
    states = torch.randn(2, 30, 24)
    expected = run(module, states)
    fused_lora.fuse_lora(module)
    found = run(module, states)
    assert [one.dtype for one in found] == [one.dtype for one in expected]
    assert is_close(found, expected)
    assert not is_close(run(module, states, seed=6), expected) or rate == 0


def test_evaluation_is_that_of_peft_bit_for_bit():
    module = peft_layer(dropout=0.3).eval()
    states = torch.randn(7, 24)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = module(states)
        fused_lora.fuse_lora(module)
        assert torch.equal(module(states), expected)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}], ids=str)
def test_other_kinds_of_update_are_left_to_peft(options):
    module = peft_layer(**options).train()
    states = torch.randn(7, 24)
    expected = run(module, states)
    fused_lora.fuse_lora(module)
    assert all(torch.equal(one, other) for one, other in zip(run(module, states), expected, strict=True))


def test_float32_and_an_adapter_that_is_off_are_left_to_peft():
    module = peft_layer().train()
    states = torch.randn(7, 24)
    fused_lora.fuse_lora(module)
    module.layer.base_layer.float()
    exact = (
        module.layer.base_layer(states)
        + 2 * states @ (module.layer.lora_B["default"].weight @ module.layer.lora_A["default"].weight).T
    )
    assert torch.allclose(module(states), exact, atol=1e-5)
    module.layer.enable_adapters(enabled=False)
    assert torch.equal(module(states), module.layer.base_layer(states))


def test_less_is_kept_for_the_backward_pass():
    def kept_bytes(module):
        sizes = {}
        frozen = {id(one) for one in module.parameters()}

        def pack(tensor):
            if id(tensor) not in frozen:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", dtype=torch.bfloat16):
            module(torch.randn(1, 1000, 240, requires_grad=True))
        return sum(sizes.values())

    module = peft_layer(dropout=0.1, inputs=240, outputs=80).train()
    kernels.fuse(module)
    before = kept_bytes(module)
    fused_lora.fuse_lora(module)
    assert kept_bytes(module) < 0.7 * before


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_an_update_of_a_network_is_nearly_that_of_peft(kind, monkeypatch):
    def update(*, fused):
        if not fused:
            monkeypatch.setattr(fused_lora, "fuse_lora", lambda _: None)
        base = tiny.base_network(tiny.network(kind))
        model = methods.build_method("lora", {"dropout": 0.1}).prepare(base)
        prepared.use_bfloat16(model)
        acceleration.accelerate(model)
        monkeypatch.undo()
        assert any(hasattr(one, "lora_A") and hasattr(one, "is_fused") for one in model.network.modules()) == fused
        model.train()
        split = packing.EncodedSplit(tiny.texts([5, 9, 12], seed=1), (), [0, 1, 2])
        adam = optimizer.build_optimizer(model, lr=1e-2, weight_decay=0.0)
        torch.manual_seed(3)
        result = step.compute_gradients(model, [packing.collate(split, (0, 1, 2))], task=TASK, optimizer=adam, max_grad_norm=0.0)
        return result.loss, {name: one.grad for name, one in model.trainable().items() if one.grad is not None}

    (own_loss, own), (loss, expected) = update(fused=True), update(fused=False)
    assert own_loss == pytest.approx(loss, abs=0.01)
    assert own.keys() == expected.keys()
    for name, grad in own.items():
        assert float((grad - expected[name]).norm()) <= 0.05 * float(expected[name].norm()) + 1e-6, name


def test_a_bias_that_is_trained_and_hooks_are_left_to_peft():
    module = peft_layer().train()
    fused_lora.fuse_lora(module)
    states, seen = torch.randn(7, 24), []
    module.layer.base_layer.bias.requires_grad_(True)
    run(module, states)
    assert module.layer.base_layer.bias.grad is not None
    module.layer.base_layer.bias.requires_grad_(False)
    handle = module.layer.base_layer.register_forward_hook(lambda *_: seen.append(1))
    run(module, states)
    handle.remove()
    run(module, states)
    assert seen == [1]
