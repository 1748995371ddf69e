"""Baselines, which train no weight of the model."""

import numpy as np
import pytest

from finewright.comparison import baselines
from finewright.comparison.spec import BASELINES, FEATURES, MAJORITY, WORDS
from finewright.core.config import DataConfig, RunConfig, build_options
from finewright.core.errors import UserError
from finewright.data import dataset as dataset_module
from finewright.data import layout
from finewright.models import forward, hub, loading
from finewright.models.prepared import PreparedModel
from support import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("baselines")
    for kind in ("gpt2", "bert", "bloom"):
        tiny.folder(root / kind, kind=kind)
    tiny.tickets(root / "t.csv", count=80)
    return root


def measure(name, place, *, kind="gpt2", known=None, **options):
    dataset = dataset_module.read_dataset(place / "t.csv", options=DataConfig(**options))
    settings = build_options(RunConfig, {"model": str(place / kind)})
    source = hub.resolve_model(str(place / kind))
    made = baselines.measure(name, {"all": dataset}, source=source, settings=settings, known={} if known is None else known)
    return made.sizes["all"], dataset


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_predicts_every_test_row(name, place):
    found, dataset = measure(name, place)
    assert len(found.predicted) == len(found.probability) == len(dataset.test) == found.metrics.num_rows
    assert set(found.predicted) <= set(dataset.labels)
    assert all(1 / 2 <= share <= 1 for share in found.probability)
    right = np.mean([label == row.label for label, row in zip(found.predicted, dataset.test, strict=True)])
    assert found.metrics.accuracy == pytest.approx(right)


def test_majority_predicts_the_most_frequent_label(place, tmp_path):
    rows = ["x,b"] * 30 + ["y,a"] * 10
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(f"{i} {row}" for i, row in enumerate(rows)) + "\n")
    found = baselines.measure(
        MAJORITY,
        {"10": dataset_module.read_dataset(tmp_path / "t.csv", options=DataConfig())},
        source=None,
        settings=None,
        known={},
    ).sizes["10"]
    assert set(found.predicted) == {"b"}
    assert found.trainable_parameters == 0
    assert found.probability[0] == pytest.approx(0.75, abs=0.02)


def test_a_bag_of_words_learns_what_words_show(place):
    found, _ = measure(WORDS, place)
    assert found.metrics.accuracy == 1.0
    assert found.chosen.startswith("C = ")
    assert found.validation_accuracy == 1.0


def test_without_validation_rows_nothing_is_chosen_by_them(place):
    for name in BASELINES:
        found, _ = measure(name, place, validation_fraction=0.0)
        assert found.validation_accuracy is None
    assert found.chosen.endswith(f"C = {baselines.DEFAULT_STRENGTH:g}")


def test_texts_without_words_are_an_error(place, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{'!' * (i + 1)},{'ab'[i % 2]}\n" for i in range(40)))
    dataset = dataset_module.read_dataset(tmp_path / "t.csv", options=DataConfig())
    with pytest.raises(UserError, match="no words in the training texts"):
        baselines.measure(WORDS, {"all": dataset}, source=None, settings=None, known={})


@pytest.mark.parametrize("kind", ["gpt2", "bert", "bloom"])
def test_features_are_the_frozen_networks_states(kind, place):
    """Against one text at a time; bloom's batches are padded."""
    dataset = dataset_module.read_dataset(place / "t.csv", options=DataConfig())
    source, known = hub.resolve_model(str(place / kind)), {}
    settings = build_options(RunConfig, {"model": str(place / kind), "training": {"precision": "float32"}})
    kinds = baselines._frozen_features(dataset, source=source, settings=settings, known=known)
    base = loading.load_model(source, head_spec=tiny.head_spec(dataset.labels))
    prepared_model = PreparedModel(network=base.network.eval(), trainable_module=base.network, architecture=base.architecture)
    head, mean = kinds.values()
    for text in [row.text for row in dataset.test][:3]:
        import torch

        ids = torch.tensor(base.origin.tokenizer(text)["input_ids"])
        with torch.no_grad(), baselines._HiddenStates(prepared_model) as states:
            forward.compute_logits(prepared_model, ids, layout.PackedLayout((len(ids),)))
        alone = states[0][0]
        np.testing.assert_allclose(head[text], alone[-1 if base.architecture.pooling == "last" else 0], atol=1e-5)
        np.testing.assert_allclose(mean[text], alone.mean(dim=0), atol=1e-5)
    assert set(known) == {row.text for rows in (dataset.train, dataset.validation, dataset.test) for row in rows}


def test_features_are_computed_once_for_all_sizes(place, monkeypatch):
    dataset = dataset_module.read_dataset(place / "t.csv", options=DataConfig())
    calls, honest = [], baselines._frozen_features
    monkeypatch.setattr(baselines, "_frozen_features", lambda *args, **extra: calls.append(1) or honest(*args, **extra))
    settings = build_options(RunConfig, {"model": str(place / "gpt2")})
    source = hub.resolve_model(str(place / "gpt2"))
    made = baselines.measure(FEATURES, {"a": dataset, "b": dataset}, source=source, settings=settings, known={})
    assert (len(calls), set(made.sizes)) == (1, {"a", "b"})
