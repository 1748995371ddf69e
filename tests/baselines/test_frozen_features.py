"""Features of a frozen network: its states, the regression on them, and what is saved."""

import json
import shutil

import numpy as np
import pytest
import torch

from finewright import baselines, tasks
from finewright.baselines import frozen_features
from finewright.baselines.frozen_features import STATES, FrozenEncoder, FrozenFeatures, HiddenStates
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset as dataset_module
from finewright.data import layout
from finewright.models import forward, hub, loading
from finewright.models.prepared import PreparedModel
from finewright.tasks.calibration import compute_probabilities
from support import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("features")
    for kind in ("gpt2", "bert", "bloom"):
        tiny.folder(root / kind, kind=kind)
    tiny.tickets(root / "t.csv", count=80)
    return root


def read(place, **options):
    return dataset_module.read_dataset(place / "t.csv", options=DataConfig(**options))


def encoder(folder, labels, *, known=None, max_length=None):
    return FrozenEncoder.load(
        hub.resolve_model(str(folder)),
        head_spec=tiny.head_spec(labels),
        max_length=max_length,
        usual_length=512,
        keep_end=False,
        bfloat16=False,
        known=known,
    )


@pytest.mark.parametrize("kind", ["gpt2", "bert", "bloom"])
def test_features_are_the_frozen_networks_states(kind, place):
    """Against one text at a time; bloom's batches are padded."""
    dataset, known = read(place), {}
    features = encoder(place / kind, dataset.labels, known=known)
    features.remember([row.text for row in dataset.test])
    base = loading.load_model(hub.resolve_model(str(place / kind)), head_spec=tiny.head_spec(dataset.labels))
    prepared_model = PreparedModel(network=base.network.eval(), trainable_module=base.network, architecture=base.architecture)
    for text in [row.text for row in dataset.test][:3]:
        ids = torch.tensor(base.origin.tokenizer(text)["input_ids"])
        with torch.no_grad(), HiddenStates(prepared_model) as states:
            forward.compute_logits(prepared_model, ids, layout.PackedLayout((len(ids),)))
        alone = states[0][0]
        last = base.architecture.pooling == "last"
        np.testing.assert_allclose(features.recall("head", [text])[0], alone[-1 if last else 0], atol=1e-5)
        np.testing.assert_allclose(features.recall("mean", [text])[0], alone.mean(dim=0), atol=1e-5)
    assert set(known) == {row.text for row in dataset.test}
    assert features.num_parameters == sum(p.numel() for p in base.network.get_submodule(base.architecture.body).parameters())


@pytest.mark.parametrize("state", ["auto", *STATES])
@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_saved_one_scores_as_scikit_learn_does(place, tmp_path, kind, state):
    dataset = read(place)
    fitted = FrozenFeatures(state=state).fit(dataset, task=tasks.DEFAULT, encoder=encoder(place / kind, dataset.labels))
    fitted.model.save(tmp_path)
    texts = [row.text for row in dataset.test]
    again = baselines.load_model(tmp_path)
    assert state in ("auto", again.settings.state)
    np.testing.assert_array_equal(again.score(texts), fitted.model.score(texts))
    np.testing.assert_allclose(compute_probabilities(again.score(texts)), fitted.estimate(texts), atol=1e-4)
    assert again.num_parameters == 32 + 1
    assert again.num_frozen_parameters == fitted.model.encoder.num_parameters
    assert {path.name for path in tmp_path.iterdir()} == {"baseline.json", "baseline.safetensors"}


def test_long_texts_are_cut_as_the_settings_say(place):
    features = encoder(place / "gpt2", ("a", "b"), max_length=5)
    assert features.limit == 5
    text = "one two three four five six seven eight"
    np.testing.assert_array_equal(features.encode([text])["mean"], features.encode([text + " nine ten"])["mean"])
    assert encoder(place / "gpt2", ("a", "b"), max_length=10_000).limit <= 512


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_another_base_is_refused(place, tmp_path, file):
    dataset = read(place)
    base = tmp_path / "base"
    shutil.copytree(place / "gpt2", base)
    fitted = FrozenFeatures(state="mean", C=1.0).fit(dataset, task=tasks.DEFAULT, encoder=encoder(base, dataset.labels))
    fitted.model.save(tmp_path / "model")
    path = base / file
    data = path.read_bytes()
    path.write_bytes(data + b" " if file.endswith("json") else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{file} differs") as raised:
        baselines.load_model(tmp_path / "model")
    assert raised.value.code == ExitCode.MISMATCH
    shutil.rmtree(base)
    with pytest.raises(UserError, match="cannot be loaded"):
        baselines.load_model(tmp_path / "model")


def test_tensors_of_another_width_are_refused(place, tmp_path):
    from safetensors.numpy import load_file, save_file

    dataset = read(place)
    features = encoder(place / "gpt2", dataset.labels)
    FrozenFeatures(state="mean", C=1.0).fit(dataset, task=tasks.DEFAULT, encoder=features).model.save(tmp_path)
    tensors = load_file(tmp_path / "baseline.safetensors")
    cut = {name: np.ascontiguousarray(tensor[..., :16]) for name, tensor in tensors.items()}
    save_file(cut, tmp_path / "baseline.safetensors")
    with pytest.raises(UserError, match="wanted 32 columns, found 16"):
        baselines.load_model(tmp_path)


def test_a_base_from_the_hub_is_recorded_by_its_commit(place):
    source = hub.ModelSource(path=place / "gpt2", name="owner/name", revision="abc")
    assert frozen_features._describe_base(source).model_dump() == {
        "name": "owner/name",
        "revision": "abc",
        "place": "",
        "files": {},
    }
    folder = frozen_features._describe_base(hub.resolve_model(str(place / "gpt2")))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(folder.files)
    assert json.loads(folder.model_dump_json())["place"] == str((place / "gpt2").resolve())
