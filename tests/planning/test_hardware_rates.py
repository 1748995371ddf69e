"""Work into seconds, and how the machine's rates are measured."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from finewright.planning import hardware_rates
from finewright.planning.hardware_rates import HardwareRates
from finewright.planning.tracer.memory import Work

RATES = HardwareRates(
    {"float32": 100.0, "bfloat16": 400.0}, bytes_per_second=10.0, curved_per_second=2.0, operation_seconds=0.5, shape_seconds=0.25
)


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work(), 0.0),
        (Work(Counter({"float32": 200})), 2.0),
        (Work(Counter({"float32": 200, "bfloat16": 200})), 2.5),
        (Work(Counter({"float64": 200})), 2.0),
        (Work(moved_bytes=30), 3.0),
        (Work(curved_numbers=30), 15.0),
        (Work(tanh_numbers=30), 15.0),
        (Work(num_operations=6), 3.0),
        (Work(num_shapes=4), 0.0),
        (Work(Counter({"float32": 100}), 10, 2, 2), 4.0),
    ],
    ids=[
        "nothing",
        "products",
        "two dtypes",
        "unknown dtype as the slowest",
        "moved",
        "curved",
        "tanh, as slow where nothing else is known",
        "operations",
        "shapes, which are not always new",
        "sum",
    ],
)
def test_seconds_are_the_sum_of_the_parts(work, seconds):
    assert RATES.seconds(work) == pytest.approx(seconds)


def test_rates_are_of_the_shapes_asked_for(monkeypatch):
    shapes = []

    def half_a_second(runs, *, device, least=0.0):
        shapes.append(tuple(runs[-1]().shape))
        return 0.5

    monkeypatch.setattr(hardware_rates, "_seconds", half_a_second)
    found = hardware_rates._measure.__wrapped__(16, device="cpu", width=8)
    count, length, head = hardware_rates.BATCH
    small = (count, length, length)
    there, back = (16, 32), (16, 8)
    few = (1, sum(hardware_rates.FEW_TEXTS), hardware_rates.FEW_WIDTH)
    assert shapes == [few, there, back, there, back, small, small, (16, 32), (16, 32), (16, 32)]
    large, many = 2 * 16 * 8 * 32 / 0.5, 2 * count * length * length * head / 0.5
    assert found.flops_per_second == {
        "float32": large,
        "bfloat16": large,
        "float32 batched": many,
        "bfloat16 batched": many,
    }
    assert found.bytes_per_second == 8 * found.curved_per_second == 2 * 16 * 32 * 4 / 0.5
    assert 0.5 / 500 < found.operation_seconds < 0.5 / 50, "the block's is that of each of its many operations"
    assert 0 <= found.shape_seconds < 1
    shapes.clear()
    monkeypatch.setattr(hardware_rates, "LARGEST_PRODUCT_FLOPS", 2 * 16 * 64 * 40)
    monkeypatch.setattr(hardware_rates, "LARGEST_STATE", 16 * 50)
    hardware_rates._measure.__wrapped__(16, device="cpu", width=64)
    assert (shapes[1], shapes[-1]) == ((16, 40), (16, 50)), "of wide matrices and states a part is measured"


def test_long_micro_batches_have_the_rates_of_shorter_ones(monkeypatch):
    asked = []
    monkeypatch.setattr(hardware_rates, "_measure", lambda tokens, **_: asked.append(tokens))
    for tokens in (100, hardware_rates.LARGEST_TOKENS, 1024, 1344):
        hardware_rates.measure_rates(tokens, device="cpu", width=8)
    assert asked == [100, *[hardware_rates.LARGEST_TOKENS] * 3]


@pytest.mark.parametrize(("several", "gain"), [(2.0, 0.5), (0.5, 2.0)])
def test_several_threads_are_compared_with_one_in_turn(monkeypatch, several, gain):
    """The first call of each, which starts the threads, does not count; a thread that must wait now and then does."""
    threads, used = torch.get_num_threads(), []

    def timed(run, *, device):
        used.append(torch.get_num_threads())
        seconds = 1.0 if used[-1] == 1 else several
        return 1000.0 if len(used) < 3 else seconds, run()

    monkeypatch.setattr(hardware_rates, "_timed", timed)
    monkeypatch.setattr(hardware_rates, "SECONDS_PER_GAIN", 0)
    torch.set_num_threads(1)
    try:
        assert hardware_rates.measure_thread_gain.__wrapped__(2) == gain
        assert (used, torch.get_num_threads()) == ([1, 2] * (hardware_rates.LEAST_PAIRS + 1), 1)
    finally:
        torch.set_num_threads(threads)


def test_the_first_product_of_a_shape_costs_what_it_takes_longer(monkeypatch):
    rows, takes = [], [9.0, 2.0, 5.0, 2.0, 4.0, 2.0, 1.0, 2.0, 7.0, 2.0]

    def timed(run, *, device):
        rows.append(run().shape[0])
        return takes.pop(0), run()

    monkeypatch.setattr(hardware_rates, "_timed", timed)
    assert hardware_rates._shape_seconds.__wrapped__("cpu") == 3.0, "the median of 7, 3, 2, -1 and 5"
    assert rows[::2] == rows[1::2] == list(range(hardware_rates.NEW_ROWS, hardware_rates.NEW_ROWS + hardware_rates.NEW_SHAPES)), (
        "each is new once"
    )


def test_states_are_many_enough_to_leave_the_caches_and_never_too_many():
    ring = hardware_rates._ring(256, 1024, device="cpu")
    assert 4 * 256 * 1024 * len(ring) >= min(hardware_rates.BEYOND_CACHES_BYTES, hardware_rates.MOST_STATES * 4 * 256 * 1024)
    assert len(hardware_rates._ring(1, 1, device="cpu")) == hardware_rates.MOST_STATES
    assert len({state.data_ptr() for state in ring}) == len(ring)


def test_the_median_of_several_times_counts_and_the_first_turn_does_not(monkeypatch):
    now, takes = [0.0], [1.0, 1.0, 0.012, 0.009, 0.06, 0.01]

    def run():
        now[0] += takes.pop(0)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    assert hardware_rates._seconds([run, run], device="cpu") == pytest.approx(0.012), "of 0.012, 0.009 and 0.06"
    assert takes == [0.01], f"it stops after {hardware_rates.SECONDS_PER_RATE} s"


def test_fixed_costs_are_of_one_thread_and_draw_no_random_numbers(monkeypatch):
    threads, used = torch.get_num_threads(), []
    monkeypatch.setattr(hardware_rates, "_seconds", lambda runs, *, device: used.append(torch.get_num_threads()) or 1.0)
    try:
        torch.set_num_threads(2)
        before = torch.random.get_rng_state()
        hardware_rates._operation_seconds("cpu")
        assert (used, torch.get_num_threads()) == ([1], 2), "a run's own threads are back afterwards"
        assert torch.equal(torch.random.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)


def test_an_operation_costs_what_a_layer_takes_divided_as_a_plan_counts_it(monkeypatch):
    """Two blocks one after the other are twice as many operations, and each of them still costs as much."""
    monkeypatch.setattr(hardware_rates, "_seconds", lambda runs, *, device: 1.0)
    one = hardware_rates._operation_seconds("cpu")
    forward = hardware_rates._Layer.forward
    monkeypatch.setattr(
        hardware_rates._Layer, "forward", lambda self, states, layout: forward(self, forward(self, states, layout), layout)
    )
    assert one / hardware_rates._operation_seconds("cpu") == pytest.approx(2, rel=0.05)


def test_layers_are_planned_as_slow_as_they_are_as_a_whole(monkeypatch):
    plain = HardwareRates({"float32": 1e12, "bfloat16": 1e12}, 1e12, 1e12, 1e-9, 0.0)
    monkeypatch.setattr(hardware_rates, "MOST_TOGETHER", 1e30)
    monkeypatch.setattr(hardware_rates, "_seconds", lambda runs, **_: float(runs[0]().shape[2]))  # as many as it is wide
    found = {width: hardware_rates._compare_together(plain, 256, width=width) for width in (64, 100, 128, 5000)}
    assert found[64] == found[100] > 1e3
    assert found[5000] == hardware_rates._compare_together(plain, 256, width=hardware_rates.MOST_WIDTH)
    assert replace(plain, tanh_per_second=5e11).seconds(Work(tanh_numbers=10**12)) == pytest.approx(2.0)
    slow = replace(plain, together=3.0)
    work = Work(Counter({"float32": 10**12}), 10**12, 0, 10**9)
    assert slow.seconds(work) == pytest.approx(3 * 2.0 + 1.0), "an operation's own cost was measured in a layer"


def test_few_tokens_and_narrow_layers_are_not_compared_and_no_factor_is_large(monkeypatch):
    rates = HardwareRates({"float32": 1e12, "bfloat16": 1e12}, 1e12, 1e12, 1e-9, 0.0)
    monkeypatch.setattr(hardware_rates, "_seconds", lambda runs, **_: 1e9)
    assert hardware_rates._compare_together(rates, hardware_rates.FEWEST_TOKENS - 1, width=64) == 1
    assert hardware_rates._compare_together(rates, 512, width=hardware_rates.USUAL_HEAD - 1) == 1
    assert hardware_rates._compare_together(rates, 512, width=64) == hardware_rates.MOST_TOGETHER
