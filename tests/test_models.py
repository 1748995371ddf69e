"""Loading, and what is refused."""

import json

import pytest
import torch

import tiny
from finewright import hub, models
from finewright.errors import ExitCode, UserError

LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("gpt2"))


def load(folder, labels=LABELS, **options):
    return models.load(hub.resolve(str(folder)), labels=labels, **options)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "roberta", "gpt_neox", "bloom"])
def test_a_base_model_gets_a_head_for_the_labels(kind, tmp_path):
    base = load(tiny.folder(tmp_path, kind=kind))
    assert base.network.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert base.new[0] in base.anatomy.head
    assert not base.kept_head
    assert base.network.config.use_cache is False
    assert base.network.config.pad_token_id is not None
    padded = [note for note in base.notes if "batches are padded: bloom cannot be packed, its ALiBi bias" in note]
    assert bool(padded) == (kind == "bloom")
    assert any("the model names no padding id" in note for note in base.notes) == (tiny.CONFIGS[kind]().pad_token_id is None)


def test_the_pretrained_weights_are_the_checkpoints_own(gpt2):
    from safetensors.torch import load_file

    saved = load_file(gpt2 / "model.safetensors")
    state = load(gpt2).network.state_dict()
    for name, tensor in saved.items():
        assert torch.equal(state[name], tensor), name


def test_random_is_the_same_shape_and_depends_on_the_seed(gpt2):
    trained, random, again, other = load(gpt2), load(gpt2, random=True), load(gpt2, random=True), load(gpt2, random=True, seed=1)
    assert random.total_parameters == trained.total_parameters
    name = "transformer.h.0.mlp.c_fc.weight"
    weights = [base.network.get_parameter(name) for base in (trained, random, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])


def test_a_head_with_the_same_labels_is_kept_and_another_is_not(gpt2, tmp_path):
    base = load(gpt2)
    base.network.save_pretrained(tmp_path)
    base.origin.tokenizer.save_pretrained(tmp_path)
    same, other, fewer = load(tmp_path), load(tmp_path, labels=("x", "y", "z")), load(tmp_path, labels=("a", "b"))
    assert same.kept_head
    assert any("kept" in note for note in same.notes)
    assert torch.equal(same.network.score.weight, base.network.score.weight)
    assert not other.kept_head
    assert not fewer.kept_head
    assert fewer.network.score.weight.shape[0] == 2


def test_a_checkpoint_that_lacks_tensors_is_refused(gpt2, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(gpt2 / "model.safetensors")
    del state["transformer.h.1.mlp.c_fc.weight"]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((gpt2 / name).read_bytes())
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 tensors of the model, for instance transformer\.h\.1\.mlp\.c_fc\.weight"):
        load(tmp_path)


def test_a_damaged_file_is_one_message(gpt2, tmp_path):
    for path in gpt2.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot load the weights"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "nothing"}, "not a model config"),
        ({"model_type": "t5"}, "the architecture 't5' is not known"),
        ({"vocab_size": 100}, r"has other shapes for 1 tensors of the model, for instance transformer\.wte\.weight"),
    ],
)
def test_configs_that_do_not_fit(gpt2, tmp_path, change, message):
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


def test_memory_that_runs_out_while_weights_are_read_is_no_damaged_checkpoint(gpt2, monkeypatch):
    import transformers

    def runs_out(*given, **options):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_pretrained", runs_out)
    with pytest.raises(UserError, match="out of memory while reading the weights") as caught:
        load(gpt2)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
