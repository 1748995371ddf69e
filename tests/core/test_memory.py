"""Sizes as text, and memory as it is really taken."""

import gc
import sys

import pytest
import torch

from finewright.core import oom, units
from finewright.core.errors import UserError
from finewright.models import torch_compat
from finewright.training import memory_meter


@pytest.mark.parametrize(
    ("text", "count"), [("8GB", 8_000_000_000), ("8GiB", 8_589_934_592), (" 1.5 gb ", 1_500_000_000), ("700MB", 700_000_000)]
)
def test_a_size_has_a_unit(text, count):
    assert units.parse_size(text) == count


@pytest.mark.parametrize("text", ["8", "-1", "-1GB", "0GB", "", "GB", "8 apples", "nan GB", "1e9GB", "8GB8"])
def test_anything_else_is_refused_with_what_was_found(text):
    with pytest.raises(UserError, match="wanted a size above zero with its unit, found '" + text.replace("+", r"\+")):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("count", "words"),
    [(7.95e9, "7.95 GB"), (13.49e9, "13.5 GB"), (312e6, "312 MB"), (26e12, "26.0 TB"), (4_100, "4 kB"), (999.6e6, "1.00 GB")],
)
def test_sizes_are_said_short(count, words):
    assert units.format_bytes(count) == words


@pytest.mark.parametrize(
    "count", [1, 4_100, 7.951e9, 13.41e9, 312.2e6, 9.999e9, 99.96e9, 119.4e9, 26.01e12, 999e6, 999.2e6, 999.2e9, 1234e12]
)
def test_a_size_that_is_enough_is_never_rounded_down(count):
    words = units.format_bytes(count, at_least=True)
    assert count <= units.parse_size(words) <= 1.02 * count + 1000


@pytest.mark.parametrize("count", [1, 999, 1_234_567_891, 8 * 10**9 + 7, 80_000_000_001])
def test_exact_sizes_are_read_back(count):
    assert units.parse_size(units.format_bytes_exactly(count)) == count


def test_a_watch_reads_the_most_that_was_held_at_once():
    kept = []
    with memory_meter.measure_memory("cpu") as reading:
        first = torch.zeros(250_000)
        second = torch.zeros(500_000)
        del first
        kept.append(torch.zeros(100_000))
        del second
    assert abs(reading.peak_bytes - 3_000_000) < 10_000, "1 MB and 2 MB at once; then 2 MB and 0.4 MB"


def test_a_watch_does_without_the_compiler(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._inductor.config", None)  # whoever loads it fails
    with memory_meter.measure_memory("cpu") as reading:
        assert len(torch.zeros(1000)) == 1000
    assert reading.peak_bytes >= 4000


def test_a_watch_records_memory_alone(monkeypatch):
    honest, found = torch.autograd._disable_profiler, []
    monkeypatch.setattr(torch.autograd, "_disable_profiler", lambda: found.append(honest()) or found[0])
    with memory_meter.measure_memory("cpu") as reading:
        made = torch.ones(1000) @ torch.ones(1000, 50)
    assert len(made) == 50
    assert reading.peak_bytes == 4000 + 200_000 + 200
    names = [event.name() for event in found[0].events()]
    assert len(names) == 5, "three tensors, of which two are given back"
    assert set(names) == {"[memory]"}, "what each operation takes is not asked, and would take longer than a small one"


def test_a_watch_ends_with_what_fails_inside():
    with pytest.raises(ValueError, match="broken"), memory_meter.measure_memory("cpu"):
        raise ValueError("broken")
    with memory_meter.measure_memory("cpu") as reading:
        held = torch.zeros(1000)
    assert reading.peak_bytes == held.nbytes


def test_a_meter_adds_what_was_held_before():
    net = torch.nn.Linear(1000, 1000)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    net(torch.ones(1, 1000)).sum().backward()
    optimizer.step()
    meter = memory_meter.MemoryMeter("cpu")
    with meter.update(net, optimizer):
        held = torch.zeros(1_000_000)
    weights = 4 * (1_000_000 + 1_000)
    assert abs(meter.peak_bytes - (3 * weights + 4_000_000)) < 10_000, "weights, two moments, and what the update took"
    with meter.measure():
        del held
    assert abs(meter.peak_bytes - (3 * weights + 4_000_000)) < 10_000, "a smaller measurement changes nothing"


def test_what_was_there_is_passed_over_inside_and_measured_again_afterwards():
    gc.unfreeze()  # as it is outside the tests
    try:
        with memory_meter.garbage_collection_settled():
            assert gc.get_freeze_count() > 1000
        assert gc.get_freeze_count() == 0, "a program that goes on would keep every model for ever"
    finally:
        gc.freeze()
    with memory_meter.garbage_collection_settled():
        pass
    assert gc.get_freeze_count() > 1000, "who froze it before wants it so"


def test_a_second_try_is_not_made_where_it_would_do_harm():
    def runs_out():
        raise MemoryError

    with pytest.raises(UserError, match="too much"):
        oom.run_or_raise(runs_out, otherwise=UserError("too much"))
    with pytest.raises(ZeroDivisionError):
        oom.run_or_raise(lambda: 1 // 0, otherwise=UserError("too much"))
    oom.run_or_raise(lambda: None, otherwise=UserError("too much"))


def test_an_update_after_another_is_read_as_high_as_the_first():
    torch.manual_seed(0)
    network = torch.nn.Linear(300, 300)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    found = []
    for _ in range(3):
        meter = memory_meter.MemoryMeter("cpu")
        with meter.update(network, optimizer):
            optimizer.zero_grad(set_to_none=True)
            network(torch.ones(2, 300)).sum().backward()
            optimizer.step()
        found.append(meter.peak_bytes)
    assert found[0] >= 2 * 4 * 300 * 301, "weights and gradients"
    assert found[1:] == found[:1] * 2


def test_where_pytorch_records_otherwise_the_public_profiler_finds_the_same_peak(monkeypatch):
    def peak():
        with memory_meter.measure_memory("cpu") as reading:
            torch.empty(1000).mul(2.0)
        return reading.peak_bytes

    expected = peak()
    assert expected >= 8000

    monkeypatch.setattr(torch_compat, "record_memory", lambda: None)
    assert peak() == expected
