"""Work into seconds, and how the machine's rates are measured."""

from collections import Counter

import pytest

from finewright import rates
from finewright.rates import Rates
from finewright.trace import Work

RATES = Rates(
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
        "operations",
        "shapes, which are not always new",
        "sum",
    ],
)
def test_seconds_are_the_sum_of_the_parts(work, seconds):
    assert RATES.seconds(work) == pytest.approx(seconds)


def test_rates_are_of_the_shapes_asked_for(monkeypatch):
    shapes = []

    def half_a_second(runs, *, device):
        shapes.append(tuple(runs[-1]().shape))
        return 0.5

    monkeypatch.setattr(rates, "_seconds", half_a_second)
    found = rates._measure.__wrapped__(16, device="cpu", width=8)
    count, length, head = rates.BATCH
    small = (count, length, length)
    there, back = (16, 32), (16, 8)
    assert shapes == [(8,), there, back, there, back, small, small, (16, 32), (16, 32)]
    large, many = 2 * 16 * 8 * 32 / 0.5, 2 * count * length * length * head / 0.5
    assert found.flops_per_second == {
        "float32": large,
        "bfloat16": large,
        "float32 batched": many,
        "bfloat16 batched": many,
    }
    assert found.bytes_per_second == 8 * found.curved_per_second == 2 * 16 * 32 * 4 / 0.5
    assert found.operation_seconds == 0.5 / (2 * rates.CHAIN)
    assert 0 <= found.shape_seconds < 1
    shapes.clear()
    monkeypatch.setattr(rates, "LARGEST_PRODUCT_FLOPS", 2 * 16 * 64 * 40)
    monkeypatch.setattr(rates, "LARGEST_STATE", 16 * 50)
    rates._measure.__wrapped__(16, device="cpu", width=64)
    assert (shapes[1], shapes[-1]) == ((16, 40), (16, 50)), "of wide matrices and states a part is measured"


def test_long_passes_have_the_rates_of_shorter_ones(monkeypatch):
    asked = []
    monkeypatch.setattr(rates, "_measure", lambda tokens, **_: asked.append(tokens))
    for tokens in (100, rates.LARGEST_TOKENS, 1024, 1344):
        rates.measure(tokens, device="cpu", width=8)
    assert asked == [100, *[rates.LARGEST_TOKENS] * 3]


def test_the_first_product_of_a_shape_costs_what_it_takes_longer(monkeypatch):
    rows, takes = [], [9.0, 2.0, 5.0, 2.0, 4.0, 2.0, 1.0, 2.0, 7.0, 2.0]

    def timed(run, *, device):
        rows.append(run().shape[0])
        return takes.pop(0), run()

    monkeypatch.setattr(rates, "_timed", timed)
    assert rates._shape_seconds.__wrapped__("cpu") == 3.0, "the median of 7, 3, 2, -1 and 5"
    assert rows[::2] == rows[1::2] == list(range(rates.NEW_ROWS, rates.NEW_ROWS + rates.NEW_SHAPES)), "each is new once"


def test_states_are_many_enough_to_leave_the_caches_and_never_too_many():
    ring = rates._ring(256, 1024, device="cpu")
    assert 4 * 256 * 1024 * len(ring) >= min(rates.BEYOND_CACHES_BYTES, rates.MOST_STATES * 4 * 256 * 1024)
    assert len(rates._ring(1, 1, device="cpu")) == rates.MOST_STATES
    assert len({state.data_ptr() for state in ring}) == len(ring)


def test_the_median_of_several_times_counts_and_the_first_does_not(monkeypatch):
    now, takes = [0.0], [0.001, 0.04, 0.03, 0.2, 0.01]

    def run():
        now[0] += takes.pop(0)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    assert rates._seconds([run, run], device="cpu") == pytest.approx(0.04), "of 0.04, 0.03 and 0.2"
    assert takes == [0.01], f"it stops after {rates.SECONDS_PER_RATE} s"
