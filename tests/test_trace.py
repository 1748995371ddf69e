"""Counting what would be alive and what would be done, on tensors without memory."""

import torch

from finewright import trace


def test_the_peak_is_the_most_that_is_alive_at_once():
    with trace.without_memory() as ledger:
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
    with trace.without_memory():
        assert float(torch.empty(3).sum()) == 1.0
        assert bool(torch.empty(3).sum() > 0)


def test_a_stretch_told_again_adds_what_it_leaves_behind():
    with trace.without_memory() as ledger:
        kept, marks = [], []
        for _ in range(5):
            marks.append(ledger.mark())
            temporary = torch.empty(1000)
            kept.append(torch.empty(100))
            del temporary
        marks.append(ledger.mark())
        segment = trace.Segment(*marks[1:5], times=10)
        peak = ledger.peak({}, rest="other", segments=[segment])
    size = -(-400 // trace.ALIGNMENT) * trace.ALIGNMENT
    assert peak == {"other": 15 * size + -(-4000 // trace.ALIGNMENT) * trace.ALIGNMENT}


def test_work_can_be_added_and_taken_away():
    one = trace.Work(moved_bytes=3, num_operations=1)
    one.matmul_flops["float32"] = 5
    twice = one.plus(one)
    assert (twice.flops, twice.moved_bytes, twice.num_operations) == (10, 6, 2)
    assert twice.plus(one, -2).flops == 0
