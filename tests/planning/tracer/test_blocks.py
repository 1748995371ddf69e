"""Tracing five of many equal layers gives what tracing all of them gives, to the byte."""

from contextlib import contextmanager

import pytest
import torch

from finewright import methods
from finewright.data import packing
from finewright.models import acceleration, quantization
from finewright.models.architectures import architecture_of
from finewright.models.attention import packed, tiled, tracing
from finewright.models.meta import BaseNetwork
from finewright.planning import estimator
from finewright.planning.hardware_rates import HardwareRates
from finewright.planning.tracer import blocks
from finewright.tasks import text_classification
from support import tiny

LENGTHS = [30, 20, 20, 10, 40, 3] * 2
RATES = HardwareRates({"float32": 1e11, "bfloat16": 2e11}, 1e10, 5e9, 1e-6, 1e-4)
CELLS = [
    ("lora", {}, False),
    ("lora", {"num_layers": 6}, True),
    ("full", {}, False),
    ("full", {}, True),
    ("freeze", {"num_layers": 6}, True),
    ("prompt", {"num_virtual_tokens": 4}, False),
    ("qlora", {}, True),
]
NUM_BLOCKS = 7


@pytest.fixture(autouse=True)
def _always_traced(monkeypatch):
    monkeypatch.setattr(estimator, "cached_trace", lambda prepared_model, what, make: make())


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
        architecture = architecture_of(config)
        if method.quantization():
            quantization.meta_quantize(net, layers=architecture.layers, four_bit=method.quantization(), bfloat16=True)
    from finewright.models.attention import packed

    packed.register()
    net.set_attn_implementation(packed.NAME)
    base = BaseNetwork(
        net, architecture, tiny.ORIGIN, tiny.head_spec(), new=architecture.head, reuses_head=False, total_parameters=1
    )
    return estimator.prepare_on_meta(base, method, bfloat16=True)


def cost(kind, name, options, *, gradient_accumulation_steps, twice):
    method = methods.build_method(name, options)
    sketch = deep_sketch(kind, method)
    acceleration.use_gradient_checkpointing(sketch, on=twice)
    lengths = [length + sketch.prompt_tokens for length in LENGTHS]
    steps = packing.schedule_updates(
        lengths, budget=90, gradient_accumulation_steps=gradient_accumulation_steps, seed=0, epochs=1
    )
    work = estimator.Workload(text_classification.TextClassification(("a", "b")), lengths, steps, lengths, sketch.prompt_tokens)
    scoring = estimator.trace_scoring(sketch, workload=work, splits=[lengths])
    return estimator.estimate_cost(sketch, method=method, total_parameters=1, workload=work, rates=RATES, scoring=scoring)


@contextmanager
def whole(prepared_model):
    yield []


@pytest.mark.parametrize(("name", "options", "twice"), CELLS, ids=str)
def test_memory_and_work_are_those_of_the_whole_depth(monkeypatch, name, options, twice):
    gradient_accumulation_steps = 3 if twice else 1
    short = cost("gpt2", name, options, gradient_accumulation_steps=gradient_accumulation_steps, twice=twice)
    monkeypatch.setattr(blocks, "shortened", whole)
    full = cost("gpt2", name, options, gradient_accumulation_steps=gradient_accumulation_steps, twice=twice)
    assert short.memory == full.memory
    assert short.flops == full.flops
    assert short.seconds == pytest.approx(full.seconds, rel=0.03), "clipping is not scaled block by block"


def test_a_tile_that_stands_for_all_inside_a_layer_that_does(monkeypatch):
    monkeypatch.setattr(packed, "LONG", 12)
    monkeypatch.setitem(tiled.QUERIES_PER_TILE, "cpu", 8)
    monkeypatch.setitem(tiled.SCORES_PER_TILE, "cpu", 8 * 40 * 2)
    short = cost("gpt2", "lora", {}, gradient_accumulation_steps=1, twice=True)
    monkeypatch.setattr(blocks, "shortened", whole)
    full = cost("gpt2", "lora", {}, gradient_accumulation_steps=1, twice=True)
    assert (short.memory, short.flops) == (full.memory, full.flops)
    monkeypatch.setattr(tracing, "representative", lambda pieces, size: iter(pieces))
    every = cost("gpt2", "lora", {}, gradient_accumulation_steps=1, twice=True)
    assert short.memory == every.memory
    assert short.flops == pytest.approx(every.flops, rel=1e-6)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_other_architectures_too(monkeypatch, kind):
    short = cost(kind, "full", {}, gradient_accumulation_steps=1, twice=False)
    monkeypatch.setattr(blocks, "shortened", whole)
    assert cost(kind, "full", {}, gradient_accumulation_steps=1, twice=False).memory == short.memory


@pytest.mark.parametrize("name", ["full", "lora", "qlora", "prompt"])
def test_the_network_has_all_its_layers_again(name):
    sketch = deep_sketch("gpt2", methods.build_method(name, {}))
    with blocks.shortened(sketch) as runs:
        assert [run.num_missing for run in runs] == [NUM_BLOCKS - blocks.KEPT]
        assert len(sketch.network.transformer.h) == blocks.KEPT
    assert len(sketch.network.transformer.h) == NUM_BLOCKS


def test_few_layers_are_all_traced():
    with blocks.shortened(deep_sketch("gpt2", methods.build_method("full", {}), num_blocks=5)) as runs:
        assert runs == []


def test_what_is_scored_several_times_costs_several_times():
    method = methods.build_method("lora", {})
    sketch = deep_sketch("gpt2", method)
    steps = packing.schedule_updates(LENGTHS, budget=90, gradient_accumulation_steps=1, seed=0, epochs=1)
    often = estimator.Workload(text_classification.TextClassification(("a", "b")), LENGTHS, steps, LENGTHS * 3)
    times = estimator.Workload(text_classification.TextClassification(("a", "b")), LENGTHS, steps, LENGTHS, evaluations=3)
    scoring = estimator.trace_scoring(sketch, workload=often, splits=[LENGTHS])
    told = {"method": method, "total_parameters": 1, "rates": RATES, "scoring": scoring}
    assert estimator.estimate_cost(sketch, workload=often, **told) == estimator.estimate_cost(sketch, workload=times, **told)
