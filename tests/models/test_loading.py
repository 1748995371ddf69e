"""Loading models, and which ones are refused."""

import json
import shutil

import pytest
import torch

from finewright import methods
from finewright.core.errors import ExitCode, UserError
from finewright.models import adapter_folder, hub, loading
from finewright.runs import model_folder
from support import tiny

LABELS = ("a", "b", "c")
AUTO_MODEL = tiny.head_spec().auto_model


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("gpt2"))


def load(folder, labels=LABELS, **options):
    return loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(labels), **options)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "roberta", "gpt_neox", "bloom"])
def test_a_base_model_gets_a_head_for_the_labels(kind, tmp_path):
    base = load(tiny.folder(tmp_path, kind=kind))
    assert base.network.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert base.new[0] in base.architecture.head
    assert not base.reuses_head
    assert base.network.config.use_cache is False
    assert base.network.config.pad_token_id is not None
    padded = [note for note in base.notes if "batches are padded: bloom cannot be packed, its ALiBi bias" in note]
    assert bool(padded) == (kind == "bloom")
    assert any("the model has no padding id" in note for note in base.notes) == (tiny.CONFIGS[kind]().pad_token_id is None)


def test_the_pretrained_weights_are_the_checkpoints_own(gpt2):
    from safetensors.torch import load_file

    saved = load_file(gpt2 / "model.safetensors")
    state = load(gpt2).network.state_dict()
    for name, tensor in saved.items():
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_layers_that_the_config_leaves_out_are_counted(kind, tmp_path):
    folder = tiny.folder(tmp_path, kind=kind)
    assert not any("left out" in note for note in load(folder).notes)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer" if kind == "gpt2" else "num_hidden_layers": 2}))
    expected = "warning: the checkpoint has weights of 3 layers, its config says 2; the others are left out"
    assert expected in load(folder).notes


def test_random_weights_have_the_same_shapes_and_depend_on_the_seed(gpt2):
    trained, random, again, other = load(gpt2), load(gpt2, random=True), load(gpt2, random=True), load(gpt2, random=True, seed=1)
    assert random.total_parameters == trained.total_parameters
    name = "transformer.h.0.mlp.c_fc.weight"
    weights = [base.network.get_parameter(name) for base in (trained, random, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])


def test_a_head_with_the_same_labels_is_used_and_another_is_not(gpt2, tmp_path):
    base = load(gpt2)
    base.network.save_pretrained(tmp_path)
    base.origin.tokenizer.save_pretrained(tmp_path)
    same, other, fewer = load(tmp_path), load(tmp_path, labels=("x", "y", "z")), load(tmp_path, labels=("a", "b"))
    assert same.reuses_head
    assert any("labels and is used" in note for note in same.notes)
    assert torch.equal(same.network.score.weight, base.network.score.weight)
    assert not other.reuses_head
    assert fewer.reuses_head
    assert torch.equal(fewer.network.score.weight, base.network.score.weight[:2])
    assert fewer.network.score.weight.shape[0] == 2


def test_a_checkpoint_that_lacks_tensors_is_refused(gpt2, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(gpt2 / "model.safetensors")
    del state["transformer.h.1.mlp.c_fc.weight"]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((gpt2 / name).read_bytes())
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 tensor of the model, for instance transformer\.h\.1\.mlp\.c_fc\.weight"):
        load(tmp_path)


def test_a_damaged_file_is_a_user_error(gpt2, tmp_path):
    for path in gpt2.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors is cut short: [\d,]+ of [\d,]+ bytes"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "nothing"}, "has no architecture 'nothing'"),
        ({"model_type": "t5"}, r"the checkpoint lacks \d+ tensors"),
        ({"vocab_size": 100}, r"has other shapes for 1 tensor of the model, for instance transformer\.wte\.weight"),
    ],
)
def test_configs_that_do_not_match_the_weights_are_refused(gpt2, tmp_path, change, message):
    for path in gpt2.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((gpt2 / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_code_beside_the_weights_is_not_run(gpt2, tmp_path):
    for path in gpt2.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((gpt2 / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Config: pass\nclass Model: pass\n")
    load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def saved(gpt2, tmp_path_factory):
    """A whole model and an adapter, as runs save them."""
    root, source = tmp_path_factory.mktemp("saved"), hub.resolve_model(str(gpt2))
    for name in ("full", "lora"):
        base = load(gpt2)
        method = methods.build_method(name, {})
        prepared_model = method.prepare(base)
        model_folder.save_model(root / name, prepared_model=prepared_model, method=method, origin=base.origin, source=source)
    return root


@pytest.mark.parametrize("name", ["full", "lora"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 10**9}, "n_layer is 1000000000, wanted 1 to 512"),
        ({"model_type": "qwen2", "num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, wanted 1 to 512"),
        ({"n_head": -1}, "num_attention_heads is -1, wanted 1 to 512"),
        ({"vocab_size": 10**11}, r"the config claims 3,200,000,\d+,\d+ parameters, the weights beside it are [\d,]+ bytes"),
    ],
    ids=str,
)
def test_a_saved_model_is_checked_like_any_other(saved, tmp_path, name, change, message):
    shutil.copytree(saved / name, tmp_path / name)
    path = adapter_folder.config_folder(tmp_path / name) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        loading.reload_model(tmp_path / name, auto_model=AUTO_MODEL, bfloat16=False)


def test_an_adapter_that_names_its_modules_by_a_pattern_is_refused(saved, tmp_path):
    """Matching this one would never end."""
    shutil.copytree(saved / "lora", tmp_path / "lora")
    path = tmp_path / "lora" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": "(.*.*)*x"}))
    with pytest.raises(UserError, match="it names its modules by a pattern"):
        loading.reload_model(tmp_path / "lora", auto_model=AUTO_MODEL, bfloat16=False)


@pytest.mark.parametrize(
    ("name", "file", "part"),
    [
        ("full", "model.safetensors", "score"),
        ("full", "model.safetensors", "mlp.c_fc.bias"),
        ("lora", "adapter_model.safetensors", "score"),
        ("lora", "adapter_model.safetensors", "lora_A"),
    ],
)
def test_a_saved_model_that_lacks_tensors_is_refused(saved, tmp_path, name, file, part):
    """They would be random, without a message."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(saved / name, tmp_path / name)
    loading.reload_model(tmp_path / name, auto_model=AUTO_MODEL, bfloat16=False)
    state = load_file(tmp_path / name / file)
    del state[next(key for key in state if part in key)]
    save_file(state, tmp_path / name / file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"the saved model cannot be read: .*{part}"):
        loading.reload_model(tmp_path / name, auto_model=AUTO_MODEL, bfloat16=False)


def test_running_out_of_memory_is_not_reported_as_damage(gpt2, monkeypatch):
    import transformers

    def runs_out(*given, **options):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", runs_out)
    with pytest.raises(UserError, match="out of memory while reading the weights") as caught:
        load(gpt2)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
