"""Baselines of pairs of texts that have several labels, or a number: they read pairs as runs do."""

import json

import pytest

from finewright.comparison import label_set_baselines, number_baselines
from finewright.comparison.spec import FEATURES, WORDS
from finewright.core.config import DataConfig, RunConfig
from finewright.data.dataset import read_dataset
from finewright.models import hub
from support import tiny

FIRST, SECOND = ("it rains", "the sun shines", "a dog runs"), ("it is wet", "an animal moves", "it is hot")


def read_pairs(folder, make, *, kind):
    lines = [
        json.dumps({"premise": f"{first} {number}", "hypothesis": second} | make(first, second))
        for number in range(6)
        for first in FIRST
        for second in SECOND
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return read_dataset(folder / "rows.jsonl", options=DataConfig(validation_fraction=0.2), row_kind=kind)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return hub.resolve_model(str(tiny.folder(tmp_path_factory.mktemp("models") / "bert", kind="bert")))


@pytest.mark.parametrize("name", [WORDS, FEATURES])
def test_several_labels(name, tmp_path, bert):
    def make(first, second):
        return {"labels": [word for word, text in (("rain", first), ("wet", second), ("hot", second)) if word in text]}

    dataset = read_pairs(tmp_path, make, kind="multi-label")
    settings = RunConfig(task="multi-label-classification", model=bert.name)
    found = label_set_baselines.measure(name, {"all": dataset}, source=bert, settings=settings, known={}).sizes["all"]
    assert len(found.predicted) == len(dataset.test)
    assert found.metrics.model_dump()["micro_f1"] > 0.6


def test_numbers_of_pairs_may_be_told_from_both_texts_compared(tmp_path, bert, monkeypatch):
    asked = []
    recall = number_baselines.FrozenEncoder.recall
    monkeypatch.setattr(
        number_baselines.FrozenEncoder,
        "recall",
        lambda self, state, texts: asked.append((state, texts)) or recall(self, state, texts),
    )
    dataset = read_pairs(tmp_path, lambda first, second: {"score": len(first) - 0.5 * len(second)}, kind="number")
    settings = RunConfig(task="regression", model=bert.name)
    number_baselines.measure(FEATURES, {"all": dataset}, source=bert, settings=settings, known={})
    assert {state for state, _ in asked} == {"head", "mean", "apart"}
    assert all(isinstance(text, tuple) for _, texts in asked for text in texts)
