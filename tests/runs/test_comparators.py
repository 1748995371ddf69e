"""Baselines that a run's result is compared with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from finewright import baselines
from finewright.core.config import DataConfig, RunConfig
from finewright.data import dataset as dataset_module
from finewright.data.splits import Example
from finewright.runs import comparators
from finewright.tasks.text_classification import TextClassification
from support import tiny


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparators") / "t.csv"
    tiny.tickets(path, count=80)
    return dataset_module.read_dataset(path, options=DataConfig())


def measure(dataset, *, wanted="auto"):
    return comparators.measure_comparators(dataset, TextClassification(dataset.labels), wanted=wanted)


def test_both_are_measured_on_the_test_rows(dataset):
    found = measure(dataset)
    assert list(found) == ["majority", "bag-of-words"]
    most = max(dataset.labels, key=lambda label: sum(row.label == label for row in dataset.train))
    assert found["majority"]["accuracy"] == np.mean([row.label == most for row in dataset.test])
    fitted = baselines.build_baseline("bag-of-words", {}).fit(dataset, task="text-classification")
    chosen = fitted.estimate([row.text for row in dataset.test]).argmax(axis=1)
    right = np.mean([dataset.labels[pick] == row.label for pick, row in zip(chosen, dataset.test, strict=True)])
    assert found["bag-of-words"]["accuracy"] == right


def test_it_can_be_switched_off_and_needs_test_rows_and_words(dataset):
    assert RunConfig().training.baselines == "auto"
    assert list(measure(dataset, wanted="off")) == ["majority"]
    assert measure(replace(dataset, test=[])) == {}
    unread = replace(dataset, train=[Example("!", row.label, row.where) for row in dataset.train])
    assert list(measure(unread)) == ["majority"]
    assert comparators.measure_comparators(dataset, TextClassification(()), wanted="auto") == {}


def test_only_the_size_of_the_data_decides_whether_it_is_fitted(dataset, monkeypatch):
    size = sum(len(row.text) for row in dataset.train) * 2
    monkeypatch.setattr(comparators, "MOST_WORK", size)
    assert comparators.is_quick(dataset)
    monkeypatch.setattr(comparators, "MOST_WORK", size - 1)
    assert not comparators.is_quick(dataset)
    assert list(measure(dataset)) == ["majority"]


def test_no_random_number_is_drawn(dataset):
    torch.manual_seed(3)
    np.random.seed(3)
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()
    measure(dataset)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == legacy).all()
