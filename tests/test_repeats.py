"""Tracing five of many equal blocks gives what tracing all of them gives, to the byte."""

from contextlib import contextmanager

import pytest
import torch

import tiny
from finewright import attention, batches, forecast, methods, planner, quantization, repeats, standin, tasks, tiles
from finewright.anatomy import of
from finewright.rates import Rates
from finewright.shapes import Base

LENGTHS = [30, 20, 20, 10, 40, 3] * 2
RATES = Rates({"float32": 1e11, "bfloat16": 2e11}, 1e10, 5e9, 1e-6, 1e-4)
CELLS = [
    ("lora", {}, False),
    ("lora", {"blocks": 6}, True),
    ("full", {}, False),
    ("full", {}, True),
    ("freeze", {"blocks": 6}, True),
    ("prompt", {"tokens": 4}, False),
    ("qlora", {}, True),
]
NUM_BLOCKS = 7


@pytest.fixture(autouse=True)
def _always_traced(monkeypatch):
    monkeypatch.setattr(planner, "once", lambda tuned, what, make: make())


def deep_sketch(kind, method, *, num_blocks=NUM_BLOCKS):
    config = tiny.CONFIGS[kind]()
    config.num_labels, config.pad_token_id, config.num_hidden_layers = 2, 0, num_blocks
    if hasattr(config, "layer_types") and config.layer_types:
        config.layer_types = [config.layer_types[0]] * num_blocks
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        net = AutoModelForSequenceClassification.from_config(config)
        net.config.use_cache = False
        net.name_or_path = "tiny"
        anatomy = of(config)
        if method.quantization():
            quantization.outline(net, blocks=anatomy.blocks, four_bit=method.quantization(), bfloat16=True)
    from finewright import attention

    attention.register()
    net.set_attn_implementation(attention.NAME)
    base = Base(net, anatomy, tiny.ORIGIN, new=anatomy.head, kept_head=False, total_parameters=1)
    return planner.sketch(base, method, bfloat16=True)


def cost(kind, name, knobs, *, accumulation, twice):
    method = methods.make(name, knobs)
    sketch = deep_sketch(kind, method)
    forecast.checkpoint_blocks(sketch, on=twice)
    lengths = [length + sketch.prompt_tokens for length in LENGTHS]
    steps = batches.steps(lengths, budget=90, accumulation=accumulation, seed=0, epochs=1)
    work = planner.Workload(tasks.Classification(("a", "b")), lengths, steps, lengths, sketch.prompt_tokens)
    scoring = planner.trace_scoring(sketch, workload=work, splits=[lengths])
    return planner.plan(sketch, method=method, total_parameters=1, workload=work, rates=RATES, scoring=scoring)


@contextmanager
def whole(tuned):
    yield []


@pytest.mark.parametrize(("name", "knobs", "twice"), CELLS, ids=str)
def test_memory_and_work_are_those_of_the_whole_depth(monkeypatch, name, knobs, twice):
    accumulation = 3 if twice else 1
    short = cost("gpt2", name, knobs, accumulation=accumulation, twice=twice)
    monkeypatch.setattr(repeats, "shortened", whole)
    full = cost("gpt2", name, knobs, accumulation=accumulation, twice=twice)
    assert short.memory == full.memory
    assert short.flops == full.flops
    assert short.seconds == pytest.approx(full.seconds, rel=0.03), "clipping is not scaled block by block"


def test_a_tile_that_stands_for_all_inside_a_block_that_does(monkeypatch):
    monkeypatch.setattr(attention, "LONG", 12)
    monkeypatch.setitem(tiles.ROWS, "cpu", 8)
    monkeypatch.setitem(tiles.NUMBERS, "cpu", 8 * 40 * 2)
    short = cost("gpt2", "lora", {}, accumulation=1, twice=True)
    monkeypatch.setattr(repeats, "shortened", whole)
    full = cost("gpt2", "lora", {}, accumulation=1, twice=True)
    assert (short.memory, short.flops) == (full.memory, full.flops)
    monkeypatch.setattr(standin, "each", lambda pieces, size: iter(pieces))
    every = cost("gpt2", "lora", {}, accumulation=1, twice=True)
    assert short.memory == every.memory
    assert short.flops == pytest.approx(every.flops, rel=1e-6)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_other_architectures_too(monkeypatch, kind):
    short = cost(kind, "full", {}, accumulation=1, twice=False)
    monkeypatch.setattr(repeats, "shortened", whole)
    assert cost(kind, "full", {}, accumulation=1, twice=False).memory == short.memory


@pytest.mark.parametrize("name", ["full", "lora", "qlora", "prompt"])
def test_the_network_has_all_its_blocks_again(name):
    sketch = deep_sketch("gpt2", methods.make(name, {}))
    with repeats.shortened(sketch) as runs:
        assert [run.num_missing for run in runs] == [NUM_BLOCKS - repeats.KEPT]
        assert len(sketch.network.transformer.h) == repeats.KEPT
    assert len(sketch.network.transformer.h) == NUM_BLOCKS


def test_few_blocks_are_all_traced():
    with repeats.shortened(deep_sketch("gpt2", methods.make("full", {}), num_blocks=5)) as runs:
        assert runs == []


def test_what_is_scored_several_times_costs_several_times():
    method = methods.make("lora", {})
    sketch = deep_sketch("gpt2", method)
    steps = batches.steps(LENGTHS, budget=90, accumulation=1, seed=0, epochs=1)
    often = planner.Workload(tasks.Classification(("a", "b")), LENGTHS, steps, LENGTHS * 3)
    times = planner.Workload(tasks.Classification(("a", "b")), LENGTHS, steps, LENGTHS, evaluations=3)
    scoring = planner.trace_scoring(sketch, workload=often, splits=[LENGTHS])
    told = {"method": method, "total_parameters": 1, "rates": RATES, "scoring": scoring}
    assert planner.plan(sketch, workload=often, **told) == planner.plan(sketch, workload=times, **told)
