"""A wish to stop."""

import pytest

from finewright.stop import Interrupted, Stop


def test_a_wish_is_granted_at_once_or_waits():
    stop = Stop()
    with stop.between_steps():
        stop.wish(2)
        assert stop.wished
        with pytest.raises(Interrupted) as caught, stop.at_once():
            raise AssertionError
        assert stop.patient
    assert (caught.value.code, caught.value.number) == (130, 2)
    assert not stop.patient
    with pytest.raises(Interrupted):
        stop.wish(15)


def test_it_is_no_error_that_somebody_could_swallow():
    assert not issubclass(Interrupted, Exception)


def test_a_wish_that_is_overdue_drops_what_leaves_no_trace_and_nothing_else():
    stop = Stop()
    stop.overdue()
    with stop.between_steps():
        stop.wish(15)
        stop.overdue()
        with stop.dropping() as keep:
            keep()
            stop.overdue()
        with pytest.raises(Interrupted) as caught, stop.dropping():
            stop.overdue()
        assert caught.value.code == 143
        stop.overdue()
    with stop.dropping():
        stop.overdue()
