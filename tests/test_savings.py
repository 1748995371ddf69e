"""What a run does without, decided from its sketch."""

from pathlib import Path

import pytest
import torch

import tiny
from finewright import anatomy as anatomies
from finewright import batches, engine, methods, savings, store
from finewright.config import TrainKnobs

SPLITS = {
    "train": batches.Encoded(tiny.texts([10] * 20), [10] * 20, [0] * 20),
    "validation": batches.Encoded(tiny.texts([10] * 5), [10] * 5, [0] * 5),
}
TOKENS = 250


def sketch(name="freeze", **knobs):
    with torch.device("meta"):
        net = tiny.network("gpt2")
        anatomy = anatomies.of(net.config)
        return methods.make(name, knobs).prepare(net, anatomy=anatomy, head=anatomy.head, origin=tiny.ORIGIN)


def choose(tuned, *, epochs=3, memory_bytes=1 << 30, **knobs):
    steps = batches.steps([10] * 20, budget=50, accumulation=1, seed=0, epochs=epochs)
    texts = savings.Texts([10] * 20, [10] * 5, tokens=SPLITS["train"].tokens())
    plain = {"warmup_fraction": 0, "schedule": "linear", "weight_decay": 0, "clip_norm": 1, "early_stopping": 0}
    recipe = engine.Recipe(steps, lr=1e-3, evaluate_every=len(steps) // epochs, **plain)
    return savings.choose(tuned, train=TrainKnobs(**knobs), memory_bytes=memory_bytes, texts=texts, recipe=recipe)


def test_texts_that_are_read_often_enough_are_kept_in_memory():
    chosen = choose(sketch(blocks=1))
    assert (chosen.where, chosen.num_still) == ("memory", 2)
    assert chosen.kept_bytes == chosen.memory_bytes == TOKENS * 32 * 4
    assert chosen.reason == "the lower 2 of 3 blocks run once instead of 3.0 times, without dropout; 0 MB in memory"
    assert choose(sketch(blocks=1), trunk_precision="bfloat16").kept_bytes == TOKENS * 32 * 2


def test_one_epoch_gains_nothing_unless_asked_for():
    assert choose(sketch(blocks=1), epochs=1).where is None
    assert "read 1.0 times" in choose(sketch(blocks=1), epochs=1).reason
    assert choose(sketch(blocks=1), epochs=1, trunk_cache="on").where == "memory"


def test_off_is_off_and_still_without_dropout():
    chosen = choose(sketch(blocks=1), trunk_cache="off")
    assert (chosen.where, chosen.reason, chosen.num_still) == (None, "as asked for", 2)


@pytest.mark.parametrize("wanted", ["auto", "on"])
@pytest.mark.parametrize("name", ["full", "lora", "prompt", "scratch"])
def test_nothing_is_kept_where_the_first_block_learns(name, wanted):
    chosen = choose(sketch(name), trunk_cache=wanted)
    assert chosen.where is None
    assert "first block" in chosen.reason


def test_what_memory_cannot_hold_goes_to_a_file_and_else_nowhere(monkeypatch):
    chosen = choose(sketch(blocks=1), memory_bytes=1000)
    assert (chosen.where, chosen.memory_bytes) == ("file", 0)
    assert str(store.root()) in chosen.reason
    monkeypatch.setattr(store, "free_bytes", lambda: 1000)
    chosen = choose(sketch(blocks=1), memory_bytes=1000)
    assert chosen.where is None
    assert "neither memory" in chosen.reason


def test_applied_to_a_sketch_it_counts_as_before():
    tuned, used = sketch("full"), len(SPLITS["train"].tokens())
    trained = tuned.num_trainable()
    assert choose(tuned).apply(tuned, device="cpu") == used < 240
    assert tuned.num_trainable() == trained


def test_only_the_splits_named_are_filled(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path))
    chosen = choose(sketch(blocks=1))
    net = tiny.network("gpt2")
    anatomy = anatomies.of(net.config)
    tuned = methods.make("freeze", {"blocks": 1}).prepare(net, anatomy=anatomy, head=anatomy.head, origin=tiny.ORIGIN)
    chosen.apply(tuned, device="cpu")
    splits = {**SPLITS, "test": SPLITS["validation"], "empty": batches.Encoded([], [], [])}
    chosen.fill(tuned, splits, ("train", "validation", "empty"))
    assert [splits[name].kept is not None for name in ("train", "validation", "test", "empty")] == [True, True, False, False]
    assert Path(tmp_path / "trunk").is_dir()
