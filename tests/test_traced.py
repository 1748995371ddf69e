"""A piece of work is traced once: what it came to is found again, as long as nothing that it depends on is another."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

import tiny
from finewright import kernels, store, trace, traced

WHAT = ["pass", "adamw", 0, "all", [3, 5]]
FOUND = traced.Traced({"weights": 100, "other": 7}, trace.Work(Counter({"float32": 12}), 3, 2, 1), 8)


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "store"))


def made_anew(tuned, what=WHAT):
    """Whether it had to be traced."""
    calls = []
    assert traced.once(tuned, what, lambda: calls.append(1) or FOUND) == FOUND
    return bool(calls)


def test_the_second_time_nothing_is_traced():
    assert made_anew(tiny.tuned("gpt2"))
    assert not made_anew(tiny.tuned("gpt2", seed=1))  # other weights of the same shape


CHANGES = {
    "frozen": lambda tuned: next(tuned.owner.parameters()).requires_grad_(False),
    "dtype": lambda tuned: tuned.network.score.to(torch.bfloat16),
    "dropout": lambda tuned: setattr(tuned.network.transformer.drop, "p", 0.5),
    "config": lambda tuned: setattr(tuned.network.config, "scale_attn_weights", False),
    "one block less": lambda tuned: tuned.network.transformer.h.__delitem__(0),
    "prompt": lambda tuned: setattr(tuned, "prompt", torch.zeros(2, 8)),
    "checkpointed": lambda tuned: setattr(tuned, "checkpointed", True),
    "bfloat16": lambda tuned: setattr(tuned, "bfloat16", True),
    "still": lambda tuned: setattr(tuned, "still_blocks", 1),
    "attention": lambda tuned: setattr(tuned.network.config, "_attn_implementation", "eager"),
    "another module of the same name": lambda tuned: setattr(tuned.network.transformer, "drop", kernels.Dropout(0.1)),
    "packed": lambda tuned: setattr(tuned.network.transformer.h[0].mlp.c_fc, "packed_bytes", 64),
    "buffer": lambda tuned: tuned.network.score.register_buffer("scale", torch.zeros(1)),
    "kept": lambda tuned: setattr(tuned, "trunk", SimpleNamespace(holds=lambda block: block is tuned.network.transformer.h[0])),
    "narrow": lambda tuned: setattr(tuned, "last_block", object()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_network_is_traced_anew(change):
    tuned = tiny.tuned("gpt2")
    assert made_anew(tuned)
    CHANGES[change](tuned)
    assert made_anew(tuned)


def test_another_task_and_other_code_are_traced_anew(monkeypatch):
    tuned = tiny.tuned("gpt2")
    assert made_anew(tuned)
    assert made_anew(tuned, [*WHAT[:-1], [3, 6]])
    monkeypatch.setattr(traced, "_code", lambda: "another version")
    assert made_anew(tuned)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "no json"])
def test_what_is_damaged_is_traced_anew_and_then_whole_again(damage):
    tuned = tiny.tuned("gpt2")
    made_anew(tuned)
    (path,) = store.root().glob("traced/*/traced.json")
    text = path.read_text()
    kept = json.loads(text)
    kept["traced"]["memory"]["weights"] += 1
    {
        "flipped": lambda: path.write_text(json.dumps(kept)),
        "cut": lambda: path.write_text(text[:-9]),
        "gone": path.unlink,
        "no json": lambda: path.write_bytes(b"\xff\x00"),
    }[damage]()
    assert made_anew(tuned)
    assert not made_anew(tuned)


def test_a_store_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "file"))
    assert made_anew(tiny.tuned("gpt2"))
    assert made_anew(tiny.tuned("gpt2"))
