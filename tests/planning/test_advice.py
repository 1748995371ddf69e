"""Every change that the advice names would really make a method fit."""

import re
from types import SimpleNamespace

import pytest

from finewright import api, methods
from finewright.core import units
from finewright.core.config import RunConfig, build_options
from finewright.planning import advice
from finewright.planning import plan as plan_module
from support import tiny

BUDGET = plan_module.MemoryBudget(1000, "as asked for")


def planned(*, weights, optimizer=0, activations=0, loading=0, trainable=0, where=None):
    parts = {"weights": weights, "gradients": 0, "optimizer": optimizer, "activations": activations, "other": 0}
    parts |= {"loading": loading} if loading else {}
    peak = sum(parts.values())
    plan = SimpleNamespace(memory=parts, peak_memory_bytes=peak, trainable_parameters=trainable, precision="float32")
    optimizations = SimpleNamespace(where=where, cache_bytes=500)
    return SimpleNamespace(plan=plan, budget=BUDGET, fits=peak <= BUDGET.num_bytes, optimizations=optimizations)


def give(method, made, *, others=(), plan_one=lambda method, settings: planned(weights=2000), **train):
    settings = build_options(RunConfig, {"training": train})
    return advice.advise(method, made, settings=settings, others=[(method, made), *others], plan_one=plan_one)


def method_name(name, **options):
    return methods.build_method(name, options)


def test_a_method_that_fits_needs_none():
    assert give(method_name("full"), planned(weights=10)) == ""


def test_weights_alone_are_too_much():
    told = give(method_name("full"), planned(weights=2000, optimizer=4000), others=[(method_name("qlora"), planned(weights=900))])
    assert told == (
        "needs 6 kB: weights, gradients and optimizer alone take 6 kB, whatever the texts' length; "
        "what would do: qlora (1 kB), or a budget of 6 kB"
    )


def test_a_packed_method_that_was_not_asked_about_is_planned():
    planned_methods = []

    def plan_one(method, settings):
        planned_methods.append(method.name())
        return planned(weights=900)

    assert "what would do: qlora (1 kB), or" in give(method_name("full"), planned(weights=2000), plan_one=plan_one)
    assert planned_methods == ["qlora"]


@pytest.mark.parametrize(
    ("package", "wanted"), [(object(), ""), (None, "; needs bitsandbytes, which is not installed here: pip install")]
)
def test_a_smaller_state_of_the_optimizer_is_planned_where_the_weights_leave_room(monkeypatch, package, wanted):
    monkeypatch.setattr(advice.importlib.util, "find_spec", lambda name: package)

    def plan_one(method, settings):
        return planned(weights=500, optimizer=200 if settings.training.optimizer == "adamw8bit" else 2000)

    told = give(method_name("full"), planned(weights=500, optimizer=2000), plan_one=plan_one)
    assert f"training.optimizer=adamw8bit (1 kB{wanted or ')'}" in told
    assert "adamw8bit" not in give(method_name("full"), planned(weights=2000, optimizer=2000), plan_one=plan_one)


@pytest.mark.parametrize(("room", "wanted"), [(0, None), (1, 1), (4, 4), (7, 7), (9, 9)])
def test_the_most_layers_that_fit_are_named(room, wanted):
    planned_methods = []

    def plan_one(method, settings):
        if method.quantization() or settings.training.optimizer != "adamw":
            return planned(weights=2000)
        planned_methods.append(method.num_layers)
        return planned(weights=100, optimizer=800 if method.num_layers <= room else 3000)

    told = give(method_name("freeze", num_layers=10), planned(weights=100, optimizer=3000), plan_one=plan_one)
    found = re.search(r"method\.num_layers=(\d+)", told)
    assert (int(found[1]) if found else None) == wanted
    assert len(planned_methods) <= 5


@pytest.mark.parametrize(("options", "tried"), [({}, [1, 2]), ({"trainable_fraction": 0.3}, []), ({"num_layers": 1}, [])])
def test_an_open_number_of_layers_is_a_small_one(options, tried):
    planned_methods = []

    def plan_one(method, settings):
        if not method.quantization() and settings.training.optimizer == "adamw":
            planned_methods.append(method.num_layers)
        return planned(weights=900)

    give(method_name("freeze", **options), planned(weights=100, optimizer=3000), plan_one=plan_one)
    assert planned_methods == tried


def test_what_was_pinned_is_left_open():
    told = give(
        method_name("prompt"), planned(weights=100, activations=2000), tokens_per_micro_batch=512, gradient_checkpointing="off"
    )
    assert told.startswith(
        "needs at least 2 kB; what would do: training.tokens_per_micro_batch left open, "
        "or training.gradient_checkpointing left open"
    )


def test_reading_the_weights_takes_most():
    told = give(method_name("lora"), planned(weights=900, loading=900))
    assert told == "needs 2 kB while the weights are read, before they are rounded; what would do: a budget of 2 kB"


def test_what_a_larger_budget_would_keep_in_memory_is_added():
    assert give(method_name("prompt"), planned(weights=100, activations=2000, where="file")).endswith("a budget of 3 kB")
    assert give(method_name("prompt"), planned(weights=100, activations=1800, where="file")).endswith("a budget of 2 kB")


def test_the_budget_that_is_named_would_do(tmp_path):
    tiny.folder(tmp_path / "gpt2")
    options = {
        "data.max_length": 8,
        "training.precision": "float32",
        "training.optimizer": "adamw8bit",
        "training.frozen_layer_cache": "off",
    }
    short = api.plan(model=tmp_path / "gpt2", method="qlora", options={**options, "memory_budget": "30kB"}).entries[0]
    named = re.search(r"a budget of (.*)$", short.advice)[1]
    enough = api.plan(model=tmp_path / "gpt2", method="qlora", options={**options, "memory_budget": named}).entries[0]
    assert (short.training_plan.fits, enough.training_plan.fits) == (False, True)
    assert units.parse_size(named) < 1.02 * short.training_plan.plan.peak_memory_bytes + 1000
