"""Low-rank updates: their target modules, scale, and how a difference is saved."""

import math

import pytest
import torch

from finewright.core.errors import UserError
from finewright.methods.base import freeze_all
from finewright.models.adapters import lora
from finewright.models.adapters.lora import LoraOptions
from support import tiny

HIDDEN = 32


def wrap(kind="gpt2", *, start="default", **options):
    base = tiny.base_network(tiny.network(kind))
    freeze_all(base)
    return lora.wrap_lora(base, options=LoraOptions(**options), start=start)


def layers(trainable_module):
    return {
        name: module
        for name, module in trainable_module.named_modules()
        if hasattr(module, "lora_A") and hasattr(module, "scaling")
    }


def num_factors(trainable_module):
    return sum(p.numel() for name, p in trainable_module.named_parameters() if ".lora_" in name and p.requires_grad)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 3 * 2 * 8 * (HIDDEN + HIDDEN)),
        ({"rank": 2}, 3 * 2 * 2 * (HIDDEN + HIDDEN)),
        ({"target_modules": "value"}, 3 * 8 * (HIDDEN + HIDDEN)),
        ({"target_modules": "query,key,value,output"}, 3 * 8 * (HIDDEN + 3 * HIDDEN + 2 * HIDDEN)),
        ({"num_layers": 1}, 2 * 8 * (HIDDEN + HIDDEN)),
        ({"target_modules": "c_fc"}, 3 * 8 * (HIDDEN + 4 * HIDDEN)),
        ({"target_modules": "all-linear"}, 3 * 8 * (4 * HIDDEN + 2 * HIDDEN + 2 * 5 * HIDDEN)),
    ],
    ids=str,
)
def test_the_number_of_factors(options, count):
    """Slices of a fused projection have factors of their own; all three slices are the whole matrix."""
    assert num_factors(wrap(**options)) == count


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize(("rslora", "scale"), [(False, 32 / 4), (True, 32 / math.sqrt(4))])
def test_the_scale_does_not_depend_on_the_number_of_slices(kind, rslora, scale):
    found = [module.scaling["default"] for module in layers(wrap(kind, rank=4, rslora=rslora)).values()]
    assert len(found) == (3 if kind == "gpt2" else 6)
    assert found == pytest.approx([scale] * len(found))


def test_layers_are_counted_from_the_top():
    assert [name for name in layers(wrap(num_layers=2)) if ".h.0." in name] == []
    assert len(layers(wrap(num_layers=2))) == 2
    with pytest.raises(UserError, match="wanted the top 4 layers, the model has 3"):
        wrap(num_layers=4)


def test_an_unknown_target_module_is_refused():
    with pytest.raises(UserError, match=r"no module 'q_proj' in a layer of this model\n.*known: query, .*attn\.c_attn"):
        wrap(target_modules="q_proj")
    with pytest.raises(UserError, match="no target module"):
        wrap(target_modules="")
    with pytest.raises(UserError, match="PEFT's olora cannot read GPT-2's transposed weights"):
        wrap(start="olora")


def test_an_untrained_update_changes_nothing():
    ids = tiny.texts([4, 7])
    plain = tiny.scores(tiny.prepared_model("gpt2"), ids)
    trainable_module = wrap(dropout=0.0).eval()
    network = trainable_module.get_base_model()
    wrapped = tiny.prepared_model("gpt2")
    wrapped.network, wrapped.trainable_module = network, trainable_module
    torch.testing.assert_close(tiny.scores(wrapped, ids), plain, atol=1e-6, rtol=0)
    with torch.no_grad():
        for name, parameter in trainable_module.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    assert not torch.allclose(tiny.scores(wrapped, ids), plain, atol=1e-3)


def test_an_update_with_initial_factors_is_saved_as_a_difference():
    torch.manual_seed(0)
    a, b, first_a, first_b = torch.randn(2, 5), torch.randn(7, 2), torch.randn(2, 5), torch.randn(7, 2)
    state = {"x.lora_A.weight": a, "x.lora_B.weight": b, "score.weight": torch.ones(3)}
    joined = lora._as_difference(state, start={"x.lora_A.weight": first_a, "x.lora_B.weight": first_b})
    assert sorted(joined) == ["x.lora_A.weight", "x.lora_B.weight"]
    made = joined["x.lora_B.weight"] @ joined["x.lora_A.weight"]
    torch.testing.assert_close(made, b @ a - first_b @ first_a)


def test_factors_are_dense_and_have_plain_names():
    shapes = {name: tuple(tensor.shape) for name, tensor in lora.adapter_factors(wrap(rank=2, num_layers=1))}
    place = "base_model.model.transformer.h.2.attn.c_attn"
    assert shapes == {f"{place}.lora_A.default.weight": (4, HIDDEN), f"{place}.lora_B.default.weight": (3 * HIDDEN, 4)}


@pytest.mark.parametrize("rslora", [False, True])
def test_doubling_the_rank_preserves_the_scale(rslora):
    trainable_module, options = wrap(rank=4, rslora=rslora), LoraOptions(rank=4, rslora=rslora)
    before = trainable_module.peft_config["default"]
    doubled = lora._double_rank(before, options=options)
    assert (before.r, doubled.r) == (4, 8)

    def scale(config, rank, alpha):
        return alpha / (math.sqrt(rank) if rslora else rank)

    assert scale(doubled, doubled.r, doubled.lora_alpha) == pytest.approx(scale(before, before.r, before.lora_alpha))
    for name, rank in before.rank_pattern.items():
        expected = scale(before, rank, before.alpha_pattern[name])
        assert scale(doubled, doubled.rank_pattern[name], doubled.alpha_pattern[name]) == pytest.approx(expected)
