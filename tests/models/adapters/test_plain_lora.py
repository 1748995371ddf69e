"""A plain LoRA adapter runs without PEFT, and its scores are PEFT's bit for bit."""

import json

import pytest
import torch

from finewright import methods
from finewright.models import hub, loading
from finewright.models.adapters import plain_lora
from finewright.models.adapters.plain_lora import LowRankUpdate
from finewright.runs import model_folder
from support import tiny

AUTO_MODEL = tiny.head_spec().auto_model
LABELS, TEXTS = ("a", "b", "c"), tiny.texts([3, 9, 5])


def save(tmp_path, *, kind="gpt2", name="lora", **options):
    """An adapter with trained values, as a run saves it."""
    source = hub.resolve_model(str(tiny.folder(tmp_path / "base", kind=kind)))
    method, base = methods.build_method(name, options), loading.load_model(source, head_spec=tiny.head_spec(LABELS))
    prepared_model = method.prepare(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in prepared_model.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path / "saved"
    model_folder.save_model(
        folder,
        prepared_model=prepared_model,
        method=method,
        origin=base.origin,
        source=source,
        max_length=16,
        truncation_side="right",
    )
    return folder


def reload(folder, *, bfloat16=False):
    prepared_model, _ = loading.reload_model(folder, auto_model=AUTO_MODEL, bfloat16=bfloat16)
    num_updates = sum(isinstance(module, LowRankUpdate) for module in prepared_model.network.modules())
    return tiny.scores(prepared_model, TEXTS), num_updates


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt2", {}),
        ("gpt2", {"target_modules": "all-linear", "rslora": True}),
        ("gpt2", {"num_layers": 1, "rank": 4, "alpha": 6.0}),
        ("gpt2", {"init_weights": "pissa"}),
        ("bert", {"target_modules": "query,mlp"}),
        ("llama", {"target_modules": "all-linear", "num_layers": 1}),
        ("gpt_neox", {"target_modules": "key"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_scores_are_those_of_peft_bit_for_bit(kind, options, bfloat16, tmp_path, monkeypatch):
    folder = save(tmp_path, kind=kind, **options)
    scores, num_updates = reload(folder, bfloat16=bfloat16)
    monkeypatch.setattr(loading, "read_plain_lora", lambda folder: None)
    by_peft, none = reload(folder, bfloat16=bfloat16)
    assert num_updates > 0
    assert none == 0
    assert torch.equal(scores, by_peft)


@pytest.mark.parametrize(("name", "options"), [("lora", {"dora": True}), ("prompt", {})], ids=str)
def test_what_is_not_plain_is_left_to_peft(name, options, tmp_path):
    folder = save(tmp_path, name=name, **options)
    assert plain_lora.read_plain_lora(folder) is None
    assert reload(folder)[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"target_modules": "attn.*"},
        {"exclude_modules": ["h.0.attn.c_attn"]},
        {"layer_replication": [[0, 1], [0, 1]]},
        {"a_field_of_a_later_version": 3},
    ],
    ids=str,
)
def test_a_config_with_anything_else_in_it_is_not_plain(change, tmp_path):
    folder = save(tmp_path)
    path = folder / "adapter_config.json"
    assert plain_lora.read_plain_lora(folder) is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert plain_lora.read_plain_lora(folder) is None


@pytest.mark.parametrize("change", [{"r": 5, "rank_pattern": {}}, {"layers_to_transform": [0], "layers_pattern": "h"}], ids=str)
def test_tensors_that_do_not_fit_the_config_leave_the_network_as_it_was(change, tmp_path):
    folder = save(tmp_path)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    network = tiny.network("gpt2")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    config = plain_lora.read_plain_lora(folder)
    assert config is not None
    assert not plain_lora.install_plain_lora(network, folder, config)
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())


def test_no_random_number_is_drawn(tmp_path):
    """PEFT's layers draw initial values, which the saved ones then replace."""
    folder, network = save(tmp_path), tiny.network("gpt2")
    config, state = plain_lora.read_plain_lora(folder), torch.get_rng_state()
    assert config is not None
    assert plain_lora.install_plain_lora(network, folder, config)
    assert torch.equal(torch.get_rng_state(), state)
