"""What saves work in a run, decided from its meta model."""

from pathlib import Path

import pytest
import torch

from finewright import methods
from finewright.core import cache
from finewright.core.config import TrainingConfig
from finewright.data import packing
from finewright.planning import optimizations
from finewright.training import loop
from support import tiny

SPLITS = {
    "train": packing.EncodedSplit(tiny.texts([10] * 20), [10] * 20, [0] * 20),
    "validation": packing.EncodedSplit(tiny.texts([10] * 5), [10] * 5, [0] * 5),
}
TOKENS = 250


def sketch(name="freeze", **options):
    with torch.device("meta"):
        return methods.build_method(name, options).prepare(tiny.base_network(tiny.network("gpt2")))


def choose(prepared_model, *, epochs=3, memory_bytes=1 << 30, **options):
    steps = packing.schedule_updates([10] * 20, budget=50, gradient_accumulation_steps=1, seed=0, epochs=epochs)
    texts = optimizations.SplitLengths([10] * 20, [10] * 5, tokens=SPLITS["train"].tokens())
    plain = {"warmup_ratio": 0, "lr_scheduler": "linear", "weight_decay": 0, "max_grad_norm": 1, "early_stopping_patience": 0}
    schedule = loop.TrainingSchedule(steps, lr=1e-3, evaluate_every=len(steps) // epochs, **plain)
    return optimizations.choose_optimizations(
        prepared_model, options=TrainingConfig(**options), memory_bytes=memory_bytes, texts=texts, schedule=schedule
    )


def test_texts_that_are_read_often_enough_are_cached_in_memory():
    chosen = choose(sketch(num_layers=1))
    assert (chosen.where, chosen.num_still) == ("memory", 2)
    assert chosen.cache_bytes == chosen.memory_bytes == TOKENS * 32 * 4
    assert chosen.reason == "the lower 2 of 3 layers run once instead of 3.0 times, without dropout; 0 MB in memory"
    assert choose(sketch(num_layers=1), frozen_layer_cache_dtype="bfloat16").cache_bytes == TOKENS * 32 * 2


def test_one_epoch_gains_nothing_unless_asked_for():
    assert choose(sketch(num_layers=1), epochs=1).where is None
    assert "read 1.0 times" in choose(sketch(num_layers=1), epochs=1).reason
    assert choose(sketch(num_layers=1), epochs=1, frozen_layer_cache="on").where == "memory"


def test_off_is_off_and_still_without_dropout():
    chosen = choose(sketch(num_layers=1), frozen_layer_cache="off")
    assert (chosen.where, chosen.reason, chosen.num_still) == (None, "as asked for", 2)


@pytest.mark.parametrize("wanted", ["auto", "on"])
@pytest.mark.parametrize("name", ["full", "lora", "prompt", "scratch"])
def test_nothing_is_cached_where_the_first_layer_learns(name, wanted):
    chosen = choose(sketch(name), frozen_layer_cache=wanted)
    assert chosen.where is None
    assert "first layer" in chosen.reason


def test_what_memory_cannot_hold_goes_to_a_file_and_else_nowhere(monkeypatch):
    chosen = choose(sketch(num_layers=1), memory_bytes=1000)
    assert (chosen.where, chosen.memory_bytes) == ("file", 0)
    assert str(cache.cache_folder()) in chosen.reason
    monkeypatch.setattr(cache, "free_bytes", lambda: 1000)
    chosen = choose(sketch(num_layers=1), memory_bytes=1000)
    assert chosen.where is None
    assert "neither memory" in chosen.reason


def test_applied_to_a_meta_model_it_counts_as_before():
    prepared_model, used = sketch("full"), len(SPLITS["train"].tokens())
    trained = prepared_model.num_trainable()
    assert choose(prepared_model).apply(prepared_model, device="cpu") == used < 240
    assert prepared_model.num_trainable() == trained


def test_only_the_splits_named_are_filled(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path))
    chosen = choose(sketch(num_layers=1))
    prepared_model = methods.build_method("freeze", {"num_layers": 1}).prepare(tiny.base_network(tiny.network("gpt2")))
    chosen.apply(prepared_model, device="cpu")
    splits = {**SPLITS, "test": SPLITS["validation"], "empty": packing.EncodedSplit([], [], [])}
    chosen.fill(prepared_model, splits, ("train", "validation", "empty"))
    assert [splits[name].cached_states is not None for name in ("train", "validation", "test", "empty")] == [
        True,
        True,
        False,
        False,
    ]
    assert Path(tmp_path / "trunk").is_dir()
