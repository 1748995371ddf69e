"""A piece of work is traced once: its result is read from the cache unless something that it depends on changed."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from finewright.core import cache as cache_module
from finewright.models import kernels
from finewright.planning.tracer import cache, memory
from support import tiny

WHAT = ["pass", "adamw", 0, "all", [3, 5]]
FOUND = cache.TraceResult({"weights": 100, "other": 7}, memory.Work(Counter({"float32": 12}), 3, 2, 1), 8)


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "store"))


def made_anew(prepared_model, what=WHAT):
    """Whether it had to be traced."""
    calls = []
    assert cache.cached_trace(prepared_model, what, lambda: calls.append(1) or FOUND) == FOUND
    return bool(calls)


def test_the_second_time_nothing_is_traced():
    assert made_anew(tiny.prepared_model("gpt2"))
    assert not made_anew(tiny.prepared_model("gpt2", seed=1))  # other weights of the same shape


CHANGES = {
    "frozen": lambda prepared_model: next(prepared_model.trainable_module.parameters()).requires_grad_(False),
    "dtype": lambda prepared_model: prepared_model.network.score.to(torch.bfloat16),
    "dropout": lambda prepared_model: setattr(prepared_model.network.transformer.drop, "p", 0.5),
    "config": lambda prepared_model: setattr(prepared_model.network.config, "scale_attn_weights", False),
    "one block less": lambda prepared_model: prepared_model.network.transformer.h.__delitem__(0),
    "prompt": lambda prepared_model: setattr(prepared_model, "prompt", torch.zeros(2, 8)),
    "checkpointed": lambda prepared_model: setattr(prepared_model.runtime, "gradient_checkpointing", True),
    "bfloat16": lambda prepared_model: setattr(prepared_model.runtime, "bfloat16", True),
    "still": lambda prepared_model: setattr(prepared_model.runtime, "num_frozen_layers", 1),
    "attention": lambda prepared_model: setattr(prepared_model.network.config, "_attn_implementation", "eager"),
    "another module of the same name": lambda prepared_model: setattr(
        prepared_model.network.transformer, "drop", kernels.Dropout(0.1)
    ),
    "packed": lambda prepared_model: setattr(prepared_model.network.transformer.h[0].mlp.c_fc, "packed_bytes", 64),
    "buffer": lambda prepared_model: prepared_model.network.score.register_buffer("scale", torch.zeros(1)),
    "kept": lambda prepared_model: setattr(
        prepared_model.runtime,
        "frozen_prefix",
        SimpleNamespace(holds=lambda block: block is prepared_model.network.transformer.h[0]),
    ),
    "narrow": lambda prepared_model: setattr(prepared_model.runtime, "pooled_last_layer", object()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_network_is_traced_anew(change):
    prepared_model = tiny.prepared_model("gpt2")
    assert made_anew(prepared_model)
    CHANGES[change](prepared_model)
    assert made_anew(prepared_model)


def test_another_task_and_other_code_are_traced_anew(monkeypatch):
    prepared_model = tiny.prepared_model("gpt2")
    assert made_anew(prepared_model)
    assert made_anew(prepared_model, [*WHAT[:-1], [3, 6]])
    monkeypatch.setattr(cache, "_code", lambda: "another version")
    assert made_anew(prepared_model)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "no json"])
def test_what_is_damaged_is_traced_anew_and_then_whole_again(damage):
    prepared_model = tiny.prepared_model("gpt2")
    made_anew(prepared_model)
    (path,) = cache_module.cache_folder().glob("traced/*/traced.json")
    text = path.read_text()
    kept = json.loads(text)
    kept["traced"]["memory"]["weights"] += 1
    {
        "flipped": lambda: path.write_text(json.dumps(kept)),
        "cut": lambda: path.write_text(text[:-9]),
        "gone": path.unlink,
        "no json": lambda: path.write_bytes(b"\xff\x00"),
    }[damage]()
    assert made_anew(prepared_model)
    assert not made_anew(prepared_model)


def test_a_store_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "file"))
    assert made_anew(tiny.prepared_model("gpt2"))
    assert made_anew(tiny.prepared_model("gpt2"))
