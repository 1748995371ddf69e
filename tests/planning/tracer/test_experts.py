"""Mixtures of experts without values: an even share is computed as transformers computes it, and a plan has its work."""

import pytest
import torch

from finewright.models import acceleration
from finewright.planning import estimator
from finewright.planning.tracer import experts
from support import tiny
from support.prepared import prepared


def find_experts(network):
    return next(module for module in network.modules() if hasattr(module, "has_gate"))


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral", "gpt_oss", "granitemoe"])
def test_an_even_share_gives_what_transformers_gives(kind):
    module = find_experts(tiny.network(kind))
    states_TH = torch.randn(8, 32, generator=torch.Generator().manual_seed(2))
    index_TK, weights_TK = torch.tensor([[0, 2], [1, 3]] * 4), torch.rand(8, 2, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = module(states_TH, index_TK, weights_TK)
        found = experts.even_experts(module, states_TH, index_TK, weights_TK)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
def test_a_mixture_is_traced_with_gradients(kind):
    from finewright import methods
    from finewright.data import packing
    from finewright.planning.hardware_rates import HardwareRates
    from finewright.tasks import text_classification

    method = methods.build_method("full", {})
    with torch.device("meta"):
        base = tiny.base_network(tiny.network(kind))
    sketch = estimator.prepare_on_meta(base, method, bfloat16=False)
    acceleration.accelerate(sketch)
    lengths = [9, 8, 7, 6]
    steps = packing.schedule_updates(lengths, budget=40, gradient_accumulation_steps=1, seed=0, epochs=1)
    work = estimator.Workload(text_classification.TextClassification(("a", "b", "c")), lengths, steps, lengths, 0)
    rates = HardwareRates({"float32": 1e11, "bfloat16": 2e11}, 1e10, 5e9, 1e-6, 1e-4)
    scoring = estimator.trace_scoring(sketch, workload=work, splits=[lengths])
    cost = estimator.estimate_cost(sketch, method=method, total_parameters=1, workload=work, rates=rates, scoring=scoring)
    assert cost.trainable_parameters == prepared("full", kind=kind).num_trainable()
    assert cost.peak_memory_bytes > 4 * 4 * cost.trainable_parameters, "weights, gradients and two moments"


def test_a_network_without_experts_is_left_alone():
    network = tiny.network("llama")
    before = network.config._experts_implementation
    experts.use_even_experts(network)
    assert network.config._experts_implementation == before
