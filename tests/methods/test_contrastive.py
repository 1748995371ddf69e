"""Contrastive fine-tuning: its batches, its head, and a run from file to file."""

import collections
import json

import pytest

from finewright import api, tasks
from finewright.data import packing
from finewright.inference.predictor import Predictor
from support import tiny
from support.prepared import prepared


def rows_of(schedule):
    return [rows for update in schedule for rows in update.batches]


def test_every_update_has_pairs_of_each_of_its_labels():
    targets = [row % 5 for row in range(43)]
    for rows in rows_of(packing.schedule_balanced_updates(targets, rows_per_update=16, seed=3, num_updates=20)):
        counts = collections.Counter(targets[row] for row in rows)
        assert len(counts) == 5
        assert min(counts.values()) >= 2
        assert len(set(rows)) == len(rows)


def test_many_labels_take_turns():
    targets = [row % 77 for row in range(77 * 8)]
    updates = rows_of(packing.schedule_balanced_updates(targets, rows_per_update=16, seed=0, num_updates=77))
    assert all(min(collections.Counter(targets[row] for row in rows).values()) == 2 for rows in updates)
    used = collections.Counter(row for rows in updates for row in rows)
    assert {used[row] for row in range(len(targets))} <= {1, 2, 3}, "twice on average"


def test_rare_labels_are_drawn_too():
    targets = [0] * 30 + [1] * 3 + [2]
    updates = rows_of(packing.schedule_balanced_updates(targets, rows_per_update=9, seed=0, num_updates=6))
    assert all({targets[row] for row in rows} == {0, 1, 2} for rows in updates)
    assert all(len(set(rows)) == len(rows) for rows in updates)


@pytest.mark.parametrize("number", [1, 5, 30])
def test_updates_are_a_function_of_the_seed_and_epochs_count_rows(number):
    targets = [row % 3 for row in range(48)]
    made = [packing.schedule_balanced_updates(targets, rows_per_update=16, seed=s, num_updates=number) for s in (1, 1, 2)]
    assert len(made[0]) == number
    assert rows_of(made[0]) == rows_of(made[1]) != rows_of(made[2])
    assert made[0][number - 1].epochs_done == pytest.approx(number / 3)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_run_fits_its_head_to_the_trained_layers(tmp_path, kind):
    tiny.folder(tmp_path / "base", kind=kind)
    tiny.tickets(tmp_path / "tickets.csv", count=40)
    options = {"training.max_steps": 8, "training.num_threads": 1, "training.learning_rate": 1e-3}
    run = api.train(
        tmp_path / "tickets.csv", model=tmp_path / "base", method="contrastive", output_dir=tmp_path / "run", options=options
    )
    result = json.loads(run.folder.result.read_text())
    assert result["steps"] == 8
    assert result["probe"]["metrics"]["test"]["accuracy"] >= 0
    scored = Predictor.load(run.folder.model, task=tasks.DEFAULT, limit=64, keep_end=False, bfloat16=False)
    rows = [line.split(",") for line in (tmp_path / "tickets.csv").read_text().splitlines()[1:]]
    found = scored.predict([text for text, _ in rows])
    assert sum(one["label"] == label for one, (_, label) in zip(found, rows, strict=True)) >= 30


def test_trains_layers_and_head():
    prepared_model = prepared("contrastive")
    layers = sum(p.numel() for p in prepared_model.network.transformer.h.parameters())
    assert prepared_model.num_trainable() == layers + 2 * 32 + 32 * 3, "layers, the final norm, three labels"
