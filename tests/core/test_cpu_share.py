"""The share of the processor that work gets, and when it is worth a word."""

import time

import pytest

from finewright.core import cpu_share


def test_the_share_is_cpu_time_over_time_and_threads(monkeypatch):
    monkeypatch.setattr(time, "monotonic", iter([100.0, 110.0]).__next__)
    monkeypatch.setattr(time, "process_time", iter([3.0, 8.0]).__next__)
    assert cpu_share.CpuShare(threads=2).measure() == pytest.approx(0.25)


def test_no_time_has_no_share(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    assert cpu_share.CpuShare(threads=1).measure() is None


def test_only_a_busy_machine_is_told():
    assert cpu_share.describe_share(None) == cpu_share.describe_share(0.97) == ""
    assert cpu_share.describe_share(0.4) == "; it got 40% of its processor time, the machine was busy"
