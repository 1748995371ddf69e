"""Architectures that nobody described: read off the network, tried on a small copy, trained and saved like any other."""

import copy

import pytest
import torch

from finewright.core.errors import UserError
from finewright.models import architectures, derivation
from finewright.models.derivation import small_copy, structure, trial
from support import families, tiny

PACKED = {"biogpt", "ctrl", "data2vec-text", "glm4_moe", "nanochat", "bitnet"}
BY_LENGTH = {"fnet", "convbert"}
OWN_HEAD = {"biogpt", "ctrl", "data2vec-text", "roformer", "rembert", "megatron-bert", "fnet", "convbert"}


@pytest.mark.parametrize("kind", families.DERIVED)
def test_how_texts_share_a_batch_is_found_out(kind):
    found = architectures.architecture_of(tiny.build_config(kind))
    assert found.is_derived
    assert (not found.not_packable) == (kind in PACKED)
    assert found.needs_equal_lengths == (kind in BY_LENGTH)
    assert found.has_standard_head == (kind in OWN_HEAD)
    (note,) = derivation.describe_derived(found)
    assert f"nobody described '{kind}' here" in note


DESCRIBED = ("bert", "roberta", "llama", "gpt2", "qwen3", "gpt_neox", "bloom", "gemma3_text", "phi3", "modernbert", "granite")


@pytest.mark.parametrize("kind", [*DESCRIBED, "deberta-v2", "electra", "gpt_oss", "cohere2", "mpnet", "falcon", "t5"])
def test_what_is_derived_is_what_is_described(kind):
    """Only what speeds a run up is left out."""
    config = tiny.build_config(kind)
    described, found = architectures.architecture_of(config), derivation.derive_architecture(config)
    for field in ("is_causal", "pooling", "body", "layers", "head", "head_kind", "pooler", "has_standard_head"):
        assert getattr(found, field) == getattr(described, field), field
    assert bool(found.not_packable) == bool(described.not_packable)
    assert found.first_position(config) == described.first_position(config)
    for projection, modules in described.projections.items():
        assert {*found.projections[projection]} == {*modules}, projection


def test_a_large_network_is_tried_narrow_and_short():
    from transformers import Qwen3MoeConfig

    config = Qwen3MoeConfig(num_hidden_layers=48, num_experts=128)
    assert small_copy.MOST_WEIGHTS < 10**8
    layers = structure.build_on_meta(config).get_submodule("model.layers")
    before = torch.random.get_rng_state()
    small = next(small_copy.build_small_copies(config, layers=layers))
    assert torch.equal(torch.random.get_rng_state(), before), "the run's own random numbers stay as they are"
    assert len(small.model.layers) == 2
    assert sum(parameter.numel() for parameter in small.parameters()) < 10**6
    assert (config.num_hidden_layers, config.vocab_size) == (48, 151936), "the model's own config is not changed"
    found = derivation.derive_architecture(config)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.is_causal
    assert not found.not_packable


def test_layers_of_every_kind_are_in_the_small_copy():
    config = tiny.build_config("lfm2")
    config = type(config)(
        **{**config.to_dict(), "num_hidden_layers": 6, "layer_types": ["conv"] * 4 + ["full_attention", "conv"]}
    )
    layers = structure.build_on_meta(config).get_submodule("model.layers")
    small = next(small_copy.build_small_copies(config, layers=layers))
    assert small.config.layer_types == ["conv"] * 4 + ["full_attention"]


def test_lengths_from_which_tokens_are_treated_in_another_way_are_short_in_the_small_copy():
    from transformers import Llama4TextConfig

    config = Llama4TextConfig(num_hidden_layers=4, num_local_experts=2, hidden_size=64, intermediate_size=64, head_dim=16)
    layers = structure.build_on_meta(config).get_submodule("model.layers")
    small = next(small_copy.build_small_copies(config, layers=layers)).config
    assert (small.attention_chunk_size, small.floor_scale) == (small_copy.WINDOW, small_copy.WINDOW)


@pytest.fixture(scope="module")
def llama():
    config = tiny.build_config("llama")
    network = structure.build_on_meta(config)
    return config, network, structure.read_structure(network, config)


def test_a_leak_between_packed_texts_is_noticed(llama, monkeypatch):
    """A network whose attention ignores where texts end must be padded."""
    from finewright.models.attention import packed

    config, network, found = llama
    assert not trial.try_architecture(found, config, network=network).not_packable
    real, register = packed.attend_by_length, packed.register

    def leaks(query, key, value, layout, spec):
        return real(query, key, value, type(layout)((sum(layout.lengths),)), spec)

    monkeypatch.setattr(packed, "register", lambda: register(packed.NAME, leaks))
    try:
        tried = trial.try_architecture(found, config, network=network)
    finally:
        register()
    assert tried.not_packable == "its states of packed texts are not those of single ones"
    assert not tried.needs_equal_lengths


def test_a_padding_that_matters_is_noticed(llama, monkeypatch):
    config, network, found = llama
    monkeypatch.setattr(
        trial.forward, "_run_padded", lambda *given, **named: trial.forward._run_equal_lengths(*given, **named) + 1e-3
    )

    def fails(*given, **named):
        raise TypeError("as a body that takes no layout")

    monkeypatch.setattr(trial.forward, "_run_packed", fails)
    tried = trial.try_architecture(found, config, network=network)
    assert (tried.needs_equal_lengths, tried.not_packable) == (True, "padding changes its states")


def test_positions_that_do_not_fit_are_refused(llama, monkeypatch):
    config, network, found = llama
    monkeypatch.setattr(trial.forward, "_run_equal_lengths", lambda *given, **named: torch.zeros(5, 32))
    with pytest.raises(UserError, match="'llama' is not known, and its network does not give the same from embeddings") as caught:
        trial.try_architecture(found, config, network=network)
    assert caught.value.where == "config.json: model_type"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("BartConfig", "'bart' cannot classify texts here: transformers has no class for its encoder alone"),
        ("Gemma3Config", r"gemma3 is a model of several parts \(text_config, vision_config\)"),
        ("ViTConfig", "'vit' is not known, and"),
    ],
)
def test_what_cannot_work_is_refused_by_name(kind, message):
    import transformers

    with pytest.raises(UserError, match=message) as caught:
        architectures.architecture_of(getattr(transformers, kind)())
    assert "model_type" in caught.value.where


def test_a_config_is_derived_once(monkeypatch):
    config = tiny.build_config("biogpt")
    first = architectures.architecture_of(config)
    monkeypatch.setattr(structure, "build_on_meta", lambda config: pytest.fail("it is derived again"))
    other = copy.deepcopy(config)
    other.id2label, other.label2id = {0: "x"}, {"x": 0}
    assert architectures.architecture_of(other) is first


def test_parameters_that_no_text_goes_through_are_not_trained():
    from support.prepared import prepared, step

    found = architectures.architecture_of(tiny.build_config("xlnet"))
    assert {"transformer.mask_emb", "transformer.layer.*.rel_attn.r_s_bias"} <= {*found.unused}
    assert not architectures.architecture_of(tiny.build_config("rembert")).unused
    prepared_model = prepared("full", kind="xlnet")
    step(prepared_model)
    assert all(parameter.grad is not None for parameter in prepared_model.trainable().values())
    assert not {name for name in prepared_model.trainable() if "mask_emb" in name or "r_s_bias" in name}
