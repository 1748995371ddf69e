"""The share of the processor that work gets, and when it is worth a word."""

import time

import pytest

from finewright.core import cpu_share


@pytest.mark.parametrize(("seconds", "cpu_seconds", "share"), [(10.0, 2.5, 0.25), (4.0, 4.1, 1.0), (1.0, 0.1, None)])
def test_the_share_is_cpu_time_over_time_where_that_says_something(monkeypatch, seconds, cpu_seconds, share):
    monkeypatch.setattr(time, "monotonic", iter([100.0, 100.0 + seconds]).__next__)
    monkeypatch.setattr(time, "thread_time", iter([3.0, 3.0 + cpu_seconds]).__next__)
    assert cpu_share.CpuShare().measure() == share


def test_only_a_busy_machine_is_told():
    assert cpu_share.describe_share(None) == cpu_share.describe_share(0.97) == ""
    assert cpu_share.describe_share(0.4) == "; it got 40% of its processor time, the machine was busy"
