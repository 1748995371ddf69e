"""Merging an adapter: one ordinary model, and the change it makes measured on the test rows."""

import pytest
import torch

import tiny
from finewright import api, export, methods, models
from finewright.errors import UserError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv")
    return root


def train(place, name, **knobs):
    given = {"train.max_steps": 8, "train.threads": 1, "train.lr": 0.01, **knobs}
    out = place / "-".join([name, *map(str, knobs.values())])
    return api.train(place / "tickets.csv", model=place / "gpt2", method=name, out=out, knobs=given).folder


@pytest.mark.parametrize("knobs", [{}, {"method.init": "pissa"}, {"method.dora": True}, {"train.precision": "bfloat16"}], ids=str)
def test_a_full_precision_merge_changes_nothing_but_rounding(place, knobs):
    run = train(place, "lora", **knobs)
    found = export.merge(run)
    assert found.exact
    assert found.largest_difference < 1e-4
    assert (found.changed, found.accuracy_before) == (0, found.accuracy_after)
    assert sorted(path.name for path in found.folder.glob("*.safetensors")) == ["model.safetensors"]


def test_plain_transformers_loads_the_merged_model(place):
    from transformers import pipeline

    run = train(place, "lora", seed=1)
    found = export.merge(run, out=place / "elsewhere")
    classify = pipeline("text-classification", model=str(found.folder), dtype=torch.float32)
    line = run.read_lines(run.predictions)[0]
    assert classify(line["text"])[0]["label"] == line["predicted"]


def test_a_quantised_merge_says_what_it_costs(place):
    pytest.importorskip("bitsandbytes")
    found = export.merge(train(place, "qlora"))
    assert not found.exact
    assert found.largest_difference > 1e-3, "another base than the one it was trained on"
    assert found.num_rows == 8


@pytest.mark.parametrize(("name", "message"), [("prompt", "before the text"), ("full", "whole already")])
def test_what_cannot_be_merged_says_why(place, name, message):
    run = train(place, name, seed=2)
    with pytest.raises(UserError, match=f"{name} has nothing to merge: .*{message}"):
        export.merge(run)


def test_every_way_that_can_be_merged_saves_an_adapter():
    for kind in map(methods.kind, methods.names()):
        assert not kind.mergeable or kind.saves == "adapter"


def test_nothing_is_overwritten_and_nothing_half_is_left(place, monkeypatch):
    run = train(place, "lora", seed=3)
    (run.path / "merged").mkdir()
    with pytest.raises(UserError, match="there is something already"):
        export.merge(run)
    true = models.merged

    def wrong(folder):
        network, tokenizer = true(folder)
        network.score.weight.data *= 2
        return network, tokenizer

    monkeypatch.setattr(models, "merged", wrong)
    with pytest.raises(UserError, match="scores of the merged model differ by"):
        export.merge(run, out=place / "wrong")
    assert not list(place.glob("*wrong*"))
