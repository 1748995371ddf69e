"""A checkpoint's trained head under other labels: rows follow names."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewright.models import hub, loading
from finewright.models.quantization import FourBit
from support import tiny

LABELS = ("neg", "mid", "pos")
KINDS = (*tiny.CONFIGS, "modernbert", "electra", "albert", "deberta-v2", "eurobert", "phi3", "gemma3_text", "biogpt")
DIFFERENT_HEADS = ("bert", "roberta", "distilbert", "gpt2", "modernbert")
"""A pooler of the body, two layers in one module, two modules, one matrix without bias, a module with a norm."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """By kind: a base without a head, and a checkpoint with a trained head for LABELS."""
    made = {}

    def make(kind):
        if kind not in made:
            root = tmp_path_factory.mktemp(kind)
            base = tiny.folder(root / "base", kind=kind)
            loaded = load(base, LABELS)
            torch.manual_seed(99)
            for name in loaded.architecture.head:
                for parameter in loaded.network.get_submodule(name).parameters():
                    parameter.data = torch.randn_like(parameter)
            loaded.network.save_pretrained(root / "trained")
            loaded.origin.tokenizer.save_pretrained(root / "trained")
            made[kind] = base, root / "trained"
        return made[kind]

    return make


def load(folder, labels, **options):
    return loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(labels), **options)


def copy_of(folder, path, **changes):
    """A copy whose config has these values."""
    path.mkdir(parents=True)
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    config = json.loads((path / "config.json").read_text()) | changes
    (path / "config.json").write_text(json.dumps(config))
    return path


def scores(base):
    from finewright.models.prepared import PreparedModel

    prepared = PreparedModel(network=base.network.eval(), trainable_module=base.network, architecture=base.architecture)
    return tiny.scores(prepared, tiny.texts([5, 9, 3]))


def head_note(base):
    (note,) = [note for note in base.notes if note.startswith("head: ")]
    return note


@pytest.mark.parametrize("kind", KINDS)
def test_rows_follow_the_names_of_the_labels(checkpoints, kind):
    _, trained = checkpoints(kind)
    same, moved = load(trained, LABELS), load(trained, ("pos", "neg", "mid"))
    assert same.reuses_head
    assert moved.reuses_head
    assert head_note(same) == "head: the checkpoint's own head has these labels and is used"
    assert "in another order; its rows are kept by name" in head_note(moved)
    torch.testing.assert_close(scores(moved), scores(same)[:, [2, 0, 1]], atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("names", [{"0": "neg", "1": "mid", "2": "pos"}, {"2": "pos", "0": "neg", "1": "mid"}], ids=str)
def test_the_order_of_the_keys_does_not_matter(checkpoints, tmp_path, names):
    _, trained = checkpoints("bert")
    again = load(copy_of(trained, tmp_path / "c", id2label=names), ("mid", "pos", "neg"))
    torch.testing.assert_close(scores(again), scores(load(trained, LABELS))[:, [1, 2, 0]], atol=1e-5, rtol=1e-6)


def test_names_that_are_numbers_are_those_of_the_data(checkpoints, tmp_path):
    _, trained = checkpoints("bert")
    numbers = copy_of(trained, tmp_path / "c", id2label={"0": 3, "1": 2, "2": 1}, label2id={"3": 0, "2": 1, "1": 2})
    again = load(numbers, ("1", "2", "3"))
    assert again.reuses_head
    torch.testing.assert_close(scores(again), scores(load(trained, LABELS))[:, [2, 1, 0]], atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("kind", DIFFERENT_HEADS)
@pytest.mark.parametrize("labels", [("neg", "new", "pos"), ("new", "neg", "other", "pos"), ("pos", "neg")], ids=str)
def test_known_names_keep_their_rows_and_others_are_new(checkpoints, kind, labels):
    _, trained = checkpoints(kind)
    before, base = scores(load(trained, LABELS)), load(trained, labels)
    after, note = scores(base), head_note(base)
    for row, label in enumerate(labels):
        if label in LABELS:
            torch.testing.assert_close(after[:, row], before[:, LABELS.index(label)], atol=1e-5, rtol=1e-6)
        assert label in note
    assert "thrown away: mid" in note
    assert ("new: " in note) == (len(labels) > 2 and "new" in labels)
    weight = base.network.get_submodule(base.architecture.head[-1])
    weight = [part for part in weight.modules() if isinstance(part, torch.nn.Linear)][-1].weight
    kept = [row for row, label in enumerate(labels) if label in LABELS]
    fresh = [row for row, label in enumerate(labels) if label not in LABELS]
    assert all(0 < weight[row].norm() <= weight[kept].norm(dim=1).mean() * 1.0001 for row in fresh)


@pytest.mark.parametrize("kind", DIFFERENT_HEADS)
@pytest.mark.parametrize("labels", [("x", "y", "z"), ("x", "y"), ("w", "x", "y", "z")], ids=str)
def test_a_head_without_a_known_name_is_new(checkpoints, kind, labels):
    _, trained = checkpoints(kind)
    found, again, other = load(trained, labels), load(trained, labels), load(trained, labels, seed=1)
    assert not found.reuses_head
    assert "has other labels (neg, mid, pos), so it is thrown away and the head is new" in head_note(found)
    for name in found.architecture.head:
        for part, value in found.network.get_submodule(name).named_parameters(prefix=name):
            assert torch.equal(value, again.network.get_parameter(part)), part
            if value.ndim == 1 and ".norm." in part:
                assert (value == 1).all(), part
            elif value.ndim == 1:
                assert not value.any(), part
            else:
                assert 0.01 < value.std() < 0.03, part
                assert not torch.equal(value, other.network.get_parameter(part)), part


def test_rows_that_nobody_named_are_thrown_away(checkpoints, tmp_path):
    _, trained = checkpoints("llama")
    unnamed = copy_of(trained, tmp_path / "c", id2label={str(row): f"LABEL_{row}" for row in range(3)}, label2id=None)
    found = load(unnamed, LABELS)
    assert not found.reuses_head
    assert "does not name its 3 labels" in head_note(found)
    assert found.network.score.weight.std() < 0.1, "the trained rows are ten times as long"


def test_two_rows_of_one_name_belong_to_no_label(checkpoints, tmp_path):
    _, trained = checkpoints("llama")
    twice = load(copy_of(trained, tmp_path / "c", id2label={"0": "neg", "1": "neg", "2": "pos"}), LABELS)
    assert "kept from the checkpoint's head: pos; new: neg, mid" in head_note(twice)


@pytest.mark.parametrize("kind", ["llama", "phi3", "gemma3_text"])
def test_one_row_of_a_reward_model_is_thrown_away(checkpoints, tmp_path, kind):
    _, trained = checkpoints(kind)
    one = copy_of(trained, tmp_path / "c", id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0}, problem_type="regression")
    state = load_file(one / "model.safetensors")
    state["score.weight"] = state["score.weight"][:1].contiguous()
    save_file(state, one / "model.safetensors", metadata={"format": "pt"})
    found = load(one, LABELS)
    assert not found.reuses_head
    assert "does not name its 1 label," in head_note(found)
    assert found.network.score.weight.shape[0] == 3


def test_a_config_that_names_other_rows_than_there_are_names_none(checkpoints, tmp_path):
    _, trained = checkpoints("llama")
    more = copy_of(trained, tmp_path / "c", id2label={str(row): name for row, name in enumerate((*LABELS, "x"))})
    found = load(more, LABELS)
    assert not found.reuses_head
    assert "has another form" in head_note(found)


def test_what_scores_meant_before_is_said(checkpoints, tmp_path):
    _, trained = checkpoints("bert")
    found = load(copy_of(trained, tmp_path / "c", problem_type="multi_label_classification"), LABELS)
    assert found.reuses_head
    assert head_note(found).endswith(
        "it was trained for multi label classification, its scores now mean single label classification"
    )


def test_a_half_precision_head_is_kept(checkpoints, tmp_path):
    _, trained = checkpoints("roberta")
    half = copy_of(trained, tmp_path / "c")
    state = {name: tensor.half() for name, tensor in load_file(half / "model.safetensors").items()}
    save_file(state, half / "model.safetensors", metadata={"format": "pt"})
    found = load(half, ("pos", "neg", "mid"))
    assert found.network.classifier.out_proj.weight.dtype == torch.float32
    expected = load(half, LABELS).network.classifier.out_proj
    assert torch.equal(found.network.classifier.out_proj.weight, expected.weight[[2, 0, 1]])
    assert torch.equal(found.network.classifier.out_proj.bias, expected.bias[[2, 0, 1]])


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="four-bit weights need it")
@pytest.mark.parametrize("kind", ["llama", "roberta"])
def test_rows_follow_names_over_four_bit_weights_too(checkpoints, kind):
    _, trained = checkpoints(kind)
    same, moved = load(trained, LABELS, four_bit=FourBit()), load(trained, ("pos", "neg", "mid"), four_bit=FourBit())
    torch.testing.assert_close(scores(moved), scores(same)[:, [2, 0, 1]], atol=1e-5, rtol=0)


def test_random_weights_take_nothing_from_the_checkpoint(checkpoints):
    base, trained = checkpoints("gpt2")
    found = load(trained, LABELS, random=True)
    assert not found.reuses_head
    assert not any(note.startswith("head: ") for note in found.notes)
    assert torch.equal(found.network.score.weight, load(base, LABELS, random=True).network.score.weight)


def test_a_model_that_lost_its_old_head_is_saved_with_the_new_one(checkpoints, tmp_path):
    _, trained = checkpoints("roberta")
    found = load(trained, ("x", "y"))
    found.network.save_pretrained(tmp_path / "again")
    saved = load_file(tmp_path / "again" / "model.safetensors")
    assert set(saved) == set(found.network.state_dict())
    assert torch.equal(saved["classifier.out_proj.weight"], found.network.classifier.out_proj.weight)


@pytest.mark.parametrize("kind", ["granite", "t5", "xlnet"])
def test_a_linear_head_beside_its_body_follows_names_too(tmp_path, kind):
    from finewright.models import sentence_folder

    base = load(tiny.folder(tmp_path / "base", kind=kind), LABELS)
    base.network.classifier.weight.data = torch.randn_like(base.network.classifier.weight)
    sentence_folder.save_network(base.network, tmp_path / "trained", architecture=base.architecture)
    base.network.config.save_pretrained(tmp_path / "trained")
    base.origin.tokenizer.save_pretrained(tmp_path / "trained")
    before = scores(base)
    same, moved = load(tmp_path / "trained", LABELS), load(tmp_path / "trained", ("pos", "neg", "mid"))
    part, other = load(tmp_path / "trained", ("pos", "new")), load(tmp_path / "trained", ("x", "y"))
    assert (same.reuses_head, moved.reuses_head, part.reuses_head, other.reuses_head) == (True, True, True, False)
    torch.testing.assert_close(scores(same), before, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(scores(moved), before[:, [2, 0, 1]], atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(scores(part)[:, 0], before[:, 2], atol=1e-5, rtol=1e-6)
    assert "in another order" in head_note(moved)
    assert "kept from the checkpoint's head: pos; new: new" in head_note(part)
    assert "has other labels (neg, mid, pos), so it is thrown away" in head_note(other)


def test_a_head_of_another_form_is_replaced_with_a_notice(tmp_path):
    """EuroBERT's scores every token; a linear head on their mean takes its place."""
    import transformers

    folder = tiny.folder(tmp_path / "base", kind="eurobert", classifier_pooling="late")
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=3)
    transformers.EuroBertForSequenceClassification(config).save_pretrained(folder)
    found = load(folder, LABELS)
    assert head_note(found) == "head: the checkpoint's own head has another form, so the head is new"
    assert not found.reuses_head
    assert [name for name, _ in found.network.named_children()] == ["model", "activation", "classifier"]
