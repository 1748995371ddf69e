"""LoRA, also on slices of fused projections."""

import json

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from transformers import GPT2Config, GPT2ForSequenceClassification

from finewright import methods
from finewright.core.errors import UserError
from finewright.models.architectures import base as base_module
from support import tiny
from support.prepared import prepared, step


def gpt2_small(**options):
    with torch.device("meta"):
        net = GPT2ForSequenceClassification(GPT2Config(num_labels=2))
    prepared_model = methods.build_method("lora", options).prepare(tiny.base_network(net))
    return prepared_model.num_trainable() - 768 * 2


def test_rank_8_on_query_and_value_of_gpt2_small():
    assert gpt2_small(rank=8, target_modules="query,value") == 12 * 2 * (8 * 768 + 768 * 8) == 294_912


def test_rank_8_on_the_whole_fused_projection_of_gpt2_small():
    assert gpt2_small(rank=8, target_modules="c_attn") == 12 * 8 * (768 + 3 * 768) == 294_912


def test_all_linear_of_gpt2_small():
    assert gpt2_small(rank=8, target_modules="all-linear") == 1_179_648


def test_top_layers_only():
    assert gpt2_small(num_layers=4) == 294_912 // 3
    with pytest.raises(UserError, match="wanted the top 13 layers, the model has 12"):
        gpt2_small(num_layers=13)


def test_trained_parameters_are_counted():
    prepared_model = prepared("lora", rank=2)
    assert prepared_model.num_trainable() == 3 * 2 * (2 * 32 + 32 * 2) + 32 * 3


VARIANTS = [
    {},
    {"target_modules": "query"},
    {"target_modules": "key,value", "rslora": True},
    {"dora": True},
    {"target_modules": "all-linear"},
    {"target_modules": "query,value,mlp", "rslora": True},
    {"init_weights": "gaussian"},
    {"num_layers": 1},
    {"init_weights": "pissa"},
    {"init_weights": "pissa", "target_modules": "all-linear", "rslora": True},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "roberta", "gpt_neox"])
def test_plain_peft_loads_what_was_saved(kind, options, tmp_path):
    prepared_model = prepared("lora", kind=kind, rank=4, dropout=0.0, **options)
    ids = tiny.texts([3, 9, 5])
    prepared_model.trainable_module.eval()
    start = tiny.scores(tiny.prepared_model(kind), ids)
    torch.testing.assert_close(tiny.scores(prepared_model, ids), start, atol=1e-5, rtol=0)  # the initial update is zero
    step(prepared_model, times=4)
    methods.build_method("lora", {"rank": 4, **options}).save(prepared_model, tmp_path)
    ours = tiny.scores(prepared_model, ids)
    assert (ours - start).abs().max() > 1e-2
    plain = tiny.prepared_model(kind)
    plain.trainable_module = PeftModel.from_pretrained(plain.network, str(tmp_path)).eval()
    theirs = tiny.scores(plain, ids)
    assert torch.equal(ours, theirs) or not prepared_model.exact_reload
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_slices_do_not_change_the_rest_of_the_projection(kind, tmp_path):
    """The update of a fused projection must be zero outside query and value, for interleaved heads too."""
    prepared_model = prepared("lora", kind=kind, rank=4, dropout=0.0)
    step(prepared_model, times=4)
    layer = prepared_model.network.get_submodule(prepared_model.architecture.layers)[1].get_submodule(
        prepared_model.architecture.projections["query"][0]
    )
    delta = layer.get_delta_weight("default")
    rows = delta.T if layer.fan_in_fan_out else delta
    config = prepared_model.network.config
    keys = base_module.fused_rows(prepared_model.architecture, config, "key")
    others = sorted(set(range(96)) - set(keys))
    assert rows[keys].abs().max() == 0
    assert (rows[others].abs().max(dim=1).values > 0).all()


def test_pissa_starts_from_the_same_function():
    prepared_model, plain = prepared("lora", init_weights="pissa", dropout=0.0), tiny.prepared_model("gpt2")
    prepared_model.trainable_module.eval()
    layer = prepared_model.network.transformer.h[0].attn.c_attn
    frozen = layer.get_base_layer().weight
    assert not torch.allclose(frozen, plain.network.transformer.h[0].attn.c_attn.weight, atol=1e-3)
    x = torch.randn(1, 5, 32)
    torch.testing.assert_close(layer(x), plain.network.transformer.h[0].attn.c_attn(x), atol=1e-5, rtol=0)


def test_auto_peft_loads_a_three_label_adapter_with_the_config_beside_it(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    tiny.network("gpt2", packed=False).save_pretrained(base)
    net = tiny.network("gpt2")
    net.name_or_path = str(base)
    origin = type("Origin", (), {"name": str(base), "revision": ""})
    method = methods.build_method("lora", {"dropout": 0.0})
    prepared_model = method.prepare(tiny.base_network(net, origin=origin))
    step(prepared_model, times=3)
    method.save(prepared_model, adapter)
    prepared_model.trainable_module.eval()
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert len(json.loads((adapter / "base_config" / "config.json").read_text())["id2label"]) == 3
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(adapter, num_labels=3).eval()
    one = tiny.texts([6])
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor(one)).logits
    torch.testing.assert_close(tiny.scores(prepared_model, one), expected, atol=1e-5, rtol=0)


def test_unknown_target_lists_what_there_is():
    with pytest.raises(UserError, match=r"method\.target_modules: no module 'qproj' in a layer.*\n.*query.*attn\.c_attn"):
        prepared("lora", target_modules="qproj")


def test_olora_on_gpt2_is_refused_with_a_fix():
    with pytest.raises(UserError, match="olora.*transposed"):
        prepared("lora", init_weights="olora")
