"""Baselines, which train no weight of the model."""

import numpy as np
import pytest

from finewright.baselines import regression
from finewright.baselines.frozen_features import FrozenEncoder
from finewright.comparison import baselines
from finewright.comparison.spec import BASELINES, FEATURES, MAJORITY, WORDS
from finewright.core.config import DataConfig, RunConfig, build_options
from finewright.core.errors import UserError
from finewright.data import dataset as dataset_module
from finewright.models import hub
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
    assert found.chosen.endswith(tuple(f"C = {strength:g}" for strength in regression.STRENGTHS))


def test_texts_without_words_are_an_error(place, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{'!' * (i + 1)},{'ab'[i % 2]}\n" for i in range(40)))
    dataset = dataset_module.read_dataset(tmp_path / "t.csv", options=DataConfig())
    with pytest.raises(UserError, match="no words in the training texts"):
        baselines.measure(WORDS, {"all": dataset}, source=None, settings=None, known={})


def test_features_are_computed_once_for_all_sizes(place, monkeypatch):
    dataset = dataset_module.read_dataset(place / "t.csv", options=DataConfig())
    calls, honest = [], FrozenEncoder.encode
    monkeypatch.setattr(FrozenEncoder, "encode", lambda self, texts: calls.append(1) or honest(self, texts))
    settings = build_options(RunConfig, {"model": str(place / "gpt2")})
    source = hub.resolve_model(str(place / "gpt2"))
    made = baselines.measure(FEATURES, {"a": dataset, "b": dataset}, source=source, settings=settings, known={})
    assert (len(calls), set(made.sizes)) == (1, {"a", "b"})
