"""A model before its weights: the outline is the network, and what is no model is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from finewright import hub, models, shapes
from finewright.errors import ExitCode, UserError

LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    for kind in ("gpt2", "bert"):
        tiny.folder(root / kind, kind=kind)
    return root


def changed(place, folder, **values):
    """A copy of GPT-2's folder without weights, with other values in its config."""
    shutil.copytree(place / "gpt2", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return hub.resolve(str(folder), weights=False)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_the_outline_has_the_names_and_shapes_of_the_network_and_no_memory(place, kind):
    source = hub.resolve(str(place / kind))
    outline, loaded = shapes.shape(source, labels=LABELS), models.load(source, labels=LABELS)
    assert all(parameter.is_meta for parameter in outline.network.parameters())
    sizes = [{name: p.shape for name, p in base.network.named_parameters()} for base in (outline, loaded)]
    assert sizes[0] == sizes[1]
    assert outline.total_parameters == loaded.total_parameters == sum(shape.numel() for shape in sizes[0].values())
    assert outline.new == loaded.new
    assert outline.network.config.id2label == dict(enumerate(LABELS))


def test_whether_the_pooler_is_stored_is_read_from_the_weights(place, tmp_path):
    assert shapes.stores_pooler(place / "bert")
    assert not shapes.stores_pooler(place / "gpt2")
    assert shapes.stores_pooler(tmp_path), "without weights it is taken to be"
    shutil.copytree(place / "bert", tmp_path / "bare")
    weights = load_file(place / "bert" / "model.safetensors")
    save_file({name: t for name, t in weights.items() if "pooler" not in name}, tmp_path / "bare" / "model.safetensors")
    bare = shapes.shape(hub.resolve(str(tmp_path / "bare")), labels=LABELS)
    assert bare.new == (*shapes.shape(hub.resolve(str(place / "bert")), labels=LABELS).new, bare.anatomy.pooler)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n_layer": 513}, "num_hidden_layers is 513, wanted 1 to 512"),
        ({"n_layer": 0}, "num_hidden_layers is 0"),
        ({"n_embd": 10**7, "n_head": 1}, "more than 20,000,000,000,000"),
        ({"vocab_size": 0}, "vocab_size is 0, wanted 1 or more"),
    ],
    ids=["deep", "no blocks", "wide", "no words"],
)
def test_a_config_that_claims_the_absurd_is_refused_before_anything_is_built(place, tmp_path, values, words):
    source = changed(place, tmp_path / "odd", **values)
    with pytest.raises(UserError, match=words):
        shapes.shape(source, labels=LABELS, tokenizer=False)


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_another_models(place, tmp_path):
    source = changed(place, tmp_path / "few", vocab_size=300)
    assert shapes.shape(source, labels=LABELS, tokenizer=False).origin.tokenizer is None
    with pytest.raises(UserError, match="the model has embeddings for 300") as caught:
        shapes.shape(source, labels=LABELS)
    assert caught.value.code == ExitCode.MISMATCH


def test_a_folder_without_a_tokenizer_has_none(place, tmp_path):
    shutil.copy(place / "gpt2" / "config.json", tmp_path)
    assert shapes.tokenizer_if_any(tmp_path) is None
    assert len(shapes.tokenizer_if_any(place / "gpt2")) > shapes.LEAST_WORDS
    with pytest.raises(UserError, match="no tokenizer"):
        shapes.shape(hub.resolve(str(tmp_path), weights=False), labels=LABELS)


def test_a_random_network_is_drawn_from_the_seed(place):
    config = shapes.config_of(hub.resolve(str(place / "gpt2")), labels=LABELS)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        network, missing = shapes.random_network(config)
        assert missing == []
        drawn.append(network.transformer.wte.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
