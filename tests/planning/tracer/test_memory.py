"""Counting what would be alive and what would be done, on tensors without memory."""

import pytest
import torch

from finewright.data import layout as layout_module
from finewright.models import forward
from finewright.planning.tracer import memory
from support import tiny


def test_the_peak_is_the_most_that_is_alive_at_once():
    with memory.without_memory() as ledger:
        weight = torch.empty(1000, 1000)
        kept = {ledger.number(weight)}
        ledger.begin_anew()
        first = torch.empty(10, 1000)
        second = first @ weight
        third = second.relu()
        del first, second, third
        small = torch.empty(5)
        peak = ledger.peak({"weights": kept}, rest="other")
        assert ledger.work.flops == 2 * 10 * 1000 * 1000
    assert small.shape == (5,)
    assert peak == {"weights": 4_000_000, "other": 3 * 40_000}, "input, product and its relu"


def test_numbers_that_are_asked_for_are_made_up():
    with memory.without_memory():
        assert float(torch.empty(3).sum()) == 1.0
        assert bool(torch.empty(3).sum() > 0)


def test_a_stretch_told_again_adds_what_it_leaves_behind():
    with memory.without_memory() as ledger:
        kept, marks = [], []
        for _ in range(5):
            marks.append(ledger.mark())
            temporary = torch.empty(1000)
            kept.append(torch.empty(100))
            del temporary
        marks.append(ledger.mark())
        segment = memory.Segment(*marks[1:5], times=10)
        peak = ledger.peak({}, rest="other", segments=[segment])
    size = -(-400 // memory.ALIGNMENT) * memory.ALIGNMENT
    assert peak == {"other": 15 * size + -(-4000 // memory.ALIGNMENT) * memory.ALIGNMENT}


def test_work_can_be_added_and_taken_away():
    one = memory.Work(moved_bytes=3, num_operations=1)
    one.matmul_flops["float32"] = 5
    twice = one.plus(one)
    assert (twice.flops, twice.moved_bytes, twice.num_operations) == (10, 6, 2)
    assert twice.plus(one, -2).flops == 0


def test_shapes_of_products_are_counted_once_and_curved_numbers_by_how_many_they_are():
    with memory.without_memory() as ledger:
        states, weight = (torch.empty(6, 4, dtype=torch.bfloat16) for _ in range(2))
        for _ in range(2):
            torch.nn.functional.linear(states, weight)
        torch.nn.functional.linear(states[:5], weight)
        torch.bmm(states.view(3, 2, 4), states.view(3, 4, 2))
        torch.nn.functional.linear(states.float(), weight.float())
        assert ledger.work.num_shapes == 2, "of bfloat16, batched ones aside"
        ledger.begin_anew()
        torch.nn.functional.linear(states, weight)
        torch.nn.functional.gelu(states)
        assert (ledger.work.num_shapes, ledger.work.curved_numbers, ledger.work.tanh_numbers) == (1, 24, 0)
        torch.nn.functional.gelu(states, approximate="tanh")
        assert (ledger.work.curved_numbers, ledger.work.tanh_numbers) == (24, 24)
        assert ledger.work.plus(ledger.work, 2).tanh_numbers == 72


def test_a_linear_layer_is_a_product_with_gradients_and_without():
    """In inference mode PyTorch does not take it apart, and its own counter passes over it."""
    for dtype, shapes in ((torch.float32, 0), (torch.bfloat16, 1)):
        with memory.without_memory() as ledger:
            layer, states = torch.nn.Linear(4, 7, dtype=dtype), torch.empty(2, 3, 4, dtype=dtype)
            for mode in (torch.enable_grad, torch.inference_mode):
                ledger.begin_anew()
                with mode():
                    layer(states)
                assert ledger.work.flops == 2 * (2 * 3) * 4 * 7
                assert ledger.work.num_shapes == shapes


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "scoring"])
def test_the_short_cut_gives_what_the_full_mode_gives(kind, training, monkeypatch):
    """Sizes and lifetimes of all storages, work and shapes: whoever asks FakeTensorMode about every operation finds the same."""

    def told():
        with torch.device("meta"):
            prepared_model = tiny.prepared_model(kind)
        prepared_model.runtime.bfloat16 = kind == "llama"
        with memory.without_memory() as ledger:
            memory.give_shapes(prepared_model.trainable_module, ledger)
            ledger.begin_anew()
            ids, layout = torch.zeros(12, dtype=torch.long), layout_module.PackedLayout((3, 4, 5))
            with torch.inference_mode(not training):
                scores = forward.compute_logits(prepared_model, ids, layout)
            if training:
                scores.sum().backward()
            changes = [(sign, ledger.sizes[number]) for sign, number in ledger.events]
            return changes, vars(ledger.work), scores.shape, scores.stride(), scores.dtype

    short = told()
    monkeypatch.setattr(memory, "_FAST_ON_META", frozenset())
    assert told() == short
