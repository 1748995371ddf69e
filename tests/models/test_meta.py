"""Meta models: they match the network, and impossible configs are refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewright.core.errors import ExitCode, UserError
from finewright.models import hub, loading, meta
from support import tiny

LABELS = ("a", "b", "c")
HEAD_SPEC = tiny.head_spec(LABELS)


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
    return hub.resolve_model(str(folder), weights=False)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_meta_model_has_the_networks_names_and_shapes(place, kind):
    source = hub.resolve_model(str(place / kind))
    meta_model, loaded = (
        meta.meta_model(source, head_spec=HEAD_SPEC),
        loading.load_model(source, head_spec=HEAD_SPEC),
    )
    assert all(parameter.is_meta for parameter in meta_model.network.parameters())
    sizes = [{name: p.shape for name, p in base.network.named_parameters()} for base in (meta_model, loaded)]
    assert sizes[0] == sizes[1]
    assert meta_model.total_parameters == loaded.total_parameters == sum(shape.numel() for shape in sizes[0].values())
    assert meta_model.new == loaded.new
    assert meta_model.network.config.id2label == dict(enumerate(LABELS))


def test_whether_the_pooler_is_stored_is_read_from_the_weights(place, tmp_path):
    assert meta.has_pooler(place / "bert")
    assert not meta.has_pooler(place / "gpt2")
    assert meta.has_pooler(tmp_path), "without weights it is taken to be"
    shutil.copytree(place / "bert", tmp_path / "bare")
    weights = load_file(place / "bert" / "model.safetensors")
    save_file({name: t for name, t in weights.items() if "pooler" not in name}, tmp_path / "bare" / "model.safetensors")
    bare = meta.meta_model(hub.resolve_model(str(tmp_path / "bare")), head_spec=HEAD_SPEC)
    assert bare.new == (
        *meta.meta_model(hub.resolve_model(str(place / "bert")), head_spec=HEAD_SPEC).new,
        bare.architecture.pooler,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layer": 513}, "n_layer is 513, wanted 1 to 512"),
        ({"n_layer": 0}, "num_hidden_layers is 0"),
        ({"n_embd": 10**7, "n_head": 1}, "more than 20,000,000,000,000"),
        ({"vocab_size": 0}, "vocab_size is 0, wanted 1 or more"),
        ({"model_type": "eurobert", "classifier_pooling": "max"}, "classifier_pooling is 'max', wanted one of bos, mean"),
        ({"model_type": "albert", "inner_group_num": 10**7}, "inner_group_num is 10000000, wanted 1 to 512"),
        ({"model_type": "novel"}, r"transformers [\d.]+ has no architecture 'novel'"),
        ({"model_type": "novel", "auto_map": {"AutoModel": "novel.Model"}}, "is code that comes with the model .auto_map."),
    ],
    ids=["deep", "no layers", "wide", "no tokens", "no pooling", "many layers in one", "unknown", "own code"],
)
def test_an_impossible_config_is_refused_before_anything_is_built(place, tmp_path, values, message):
    source = changed(place, tmp_path / "odd", **values)
    with pytest.raises(UserError, match=message) as caught:
        meta.meta_model(source, head_spec=HEAD_SPEC, tokenizer=False)
    assert caught.value.where.startswith(str(source.path / "config.json"))


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(place, tmp_path):
    source = changed(place, tmp_path / "few", vocab_size=300)
    assert meta.meta_model(source, head_spec=HEAD_SPEC, tokenizer=False).origin.tokenizer is None
    with pytest.raises(UserError, match="the model has embeddings for 300") as caught:
        meta.meta_model(source, head_spec=HEAD_SPEC)
    assert caught.value.code == ExitCode.MISMATCH


def test_a_folder_without_a_tokenizer_has_none(place, tmp_path):
    shutil.copy(place / "gpt2" / "config.json", tmp_path)
    assert meta.load_tokenizer_if_any(tmp_path) is None
    assert len(meta.load_tokenizer_if_any(place / "gpt2")) > meta.MIN_TOKENS
    with pytest.raises(UserError, match="no tokenizer"):
        meta.meta_model(hub.resolve_model(str(tmp_path), weights=False), head_spec=HEAD_SPEC)


def test_a_config_beside_a_tokenizer_that_would_be_read_for_ever_is_refused(place, tmp_path):
    """An adapter's folder needs none, and so nobody else looks at it."""
    shutil.copytree(place / "gpt2", tmp_path / "deep")
    (tmp_path / "deep" / "config.json").write_text(json.dumps({"model_type": "qwen2", "num_hidden_layers": 10**6}))
    network = meta.meta_model(hub.resolve_model(str(place / "gpt2")), head_spec=HEAD_SPEC).network
    with pytest.raises(UserError, match="num_hidden_layers is 1000000, wanted 1 to 512") as caught:
        meta.load_tokenizer(tmp_path / "deep", network)
    assert caught.value.where == str(tmp_path / "deep" / "config.json")


def test_random_weights_follow_the_seed(place):
    config = meta.load_config(hub.resolve_model(str(place / "gpt2")), head_spec=HEAD_SPEC)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        network = meta.build_random_network(config, auto_model=tiny.head_spec().auto_model)
        drawn.append(network.transformer.wte.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
