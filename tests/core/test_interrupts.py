"""Requests to stop."""

import pytest

from finewright.core.interrupts import Interrupted, StopRequest


def test_a_wish_is_granted_at_once_or_waits():
    stop = StopRequest()
    with stop.deferred():
        stop.request(2)
        assert stop.requested
        with pytest.raises(Interrupted) as caught, stop.at_once():
            raise AssertionError
        assert stop.patient
    assert (caught.value.code, caught.value.number) == (130, 2)
    assert not stop.patient
    with pytest.raises(Interrupted):
        stop.request(15)


def test_it_is_no_error_that_somebody_could_swallow():
    assert not issubclass(Interrupted, Exception)


def test_a_wish_that_is_overdue_drops_what_leaves_no_trace_and_nothing_else():
    stop = StopRequest()
    stop.overdue()
    with stop.deferred():
        stop.request(15)
        stop.overdue()
        with stop.abortable() as keep:
            keep()
            stop.overdue()
        with pytest.raises(Interrupted) as caught, stop.abortable():
            stop.overdue()
        assert caught.value.code == 143
        stop.overdue()
    with stop.abortable():
        stop.overdue()
