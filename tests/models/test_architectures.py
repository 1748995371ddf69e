"""Architecture descriptions: found by file name, right about where modules and fused rows are."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedConfig

from finewright.core.errors import UserError
from finewright.models import architectures
from finewright.models.architectures import base
from support import tiny


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_module_is_where_the_architecture_says(kind):
    net = tiny.network(kind)
    architecture = architectures.architecture_of(net.config)
    layer = net.get_submodule(architecture.layers)[0]
    for modules in architecture.projections.values():
        for name in modules:
            assert layer.get_submodule(name).weight.ndim == 2
    for name in (architecture.body, architecture.final_norm, architecture.pooler, *architecture.head):
        assert not name or net.get_submodule(name) is not None


def test_fused_rows_of_thirds_and_of_interleaved_heads():
    gpt2, neox = tiny.CONFIGS["gpt2"](), tiny.CONFIGS["gpt_neox"]()
    assert base.fused_rows(architectures.architecture_of(gpt2), gpt2, "value") == list(range(64, 96))
    rows = base.fused_rows(architectures.architecture_of(neox), neox, "value")
    assert rows[:9] == [16, 17, 18, 19, 20, 21, 22, 23, 40]  # 4 heads of width 8: q, k, v of head 0, then of head 1


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "bloom"])
def test_fused_rows_part_the_projection(kind):
    config = tiny.CONFIGS[kind]()
    parts = [base.fused_rows(architectures.architecture_of(config), config, part) for part in ("query", "key", "value")]
    assert sorted(sum(parts, [])) == list(range(96))


def test_grouped_queries_have_unequal_slices():
    """Phi-3 has one key and one value row for every two query rows."""
    from transformers.models.phi3.modeling_phi3 import Phi3Attention, Phi3Config

    config = Phi3Config(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1, attn_implementation="eager"
    )
    phi3 = replace(architectures.architecture_of(tiny.CONFIGS["gpt2"]()), model_type="phi3")
    rows = {part: base.fused_rows(phi3, config, part) for part in ("query", "key", "value")}
    assert [len(rows[part]) for part in rows] == [32, 16, 16]
    torch.manual_seed(0)
    module, states = Phi3Attention(config, layer_idx=0), torch.randn(1, 5, 32)
    angles = torch.ones(1, 5, 8), torch.zeros(1, 5, 8)

    def attended(without):
        weight = module.qkv_proj.weight.detach().clone()
        weight[rows[without]] = 0
        with torch.no_grad():
            projected = torch.nn.functional.linear(states, weight)
            values = projected[..., -16:].unflatten(-1, (2, 8)).repeat_interleave(2, dim=-2).flatten(-2)
            module.qkv_proj.forward = lambda _: projected
            return module(states, position_embeddings=angles, attention_mask=None)[0], module.o_proj(values.mean(1, keepdim=True))

    assert not attended("value")[0].any()
    for part in ("query", "key"):  # with all scores zero every token takes the mean of all values
        found, mean = attended(part)
        torch.testing.assert_close(found, mean.expand_as(found))


def test_a_file_of_the_folder_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "state_spaces.py").write_text(
        "from dataclasses import replace\n"
        "from finewright.models.architectures.decoders import ARCHITECTURES as DECODERS\n"
        "ARCHITECTURES = (replace(DECODERS[0], model_type='mamba9'),)\n"
    )
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    architectures._known.cache_clear()
    try:
        assert "mamba9" in architectures.architecture_names()
        assert architectures.architecture_of(SimpleNamespace(model_type="mamba9")).layers == "transformer.h"
    finally:
        monkeypatch.undo()
        architectures._known.cache_clear()
        sys.modules.pop(f"{architectures.__name__}.state_spaces", None)


def test_roberta_counts_positions_from_its_padding_id():
    config = tiny.CONFIGS["roberta"]()
    architecture = architectures.architecture_of(config)
    assert architecture.first_position(config) == 2
    assert base.max_text_length(config, architecture) == 64


def test_an_architecture_without_a_network_is_refused():
    class Gpt3Config(PreTrainedConfig):
        model_type = "gpt3"

    with pytest.raises(UserError, match="'gpt3' cannot classify texts here: transformers has no network for it") as caught:
        architectures.architecture_of(Gpt3Config())
    assert caught.value.where == "config.json: model_type"
    assert "did you mean" not in caught.value.fix, "who renames the architecture in config.json gets another function"


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_a_repr_is_the_same_in_every_process(kind):
    """It is part of the key of cached traces."""
    assert " at 0x" not in repr(architectures.architecture_of(tiny.CONFIGS[kind]()))


def test_the_list_says_how_each_is_batched_and_what_it_cannot_do():
    table = {row["model_type"]: row for row in architectures.describe_architectures()}
    assert len(table) >= 40
    assert [*table] == architectures.architecture_names()
    assert (table["qwen3"]["batches"], table["qwen3"]["head"], table["qwen3"]["why_padded"]) == ("packed", "own", "")
    assert table["deberta-v2"]["batches"] == "padded"
    assert table["granite"]["head"] == "linear"
    assert "experts" in table["mixtral"]["limits"][0]
    assert "mlp" not in table["mixtral"]["adapter_targets"]
    assert all((row["batches"] == "padded") == bool(row["why_padded"]) for row in table.values())
