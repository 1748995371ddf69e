"""Stop requests of a session."""

from types import SimpleNamespace

import pytest

from finewright.core.interrupts import Interrupted, StopRequest
from finewright.runs.session import Session


def test_a_stop_request_after_the_last_event_is_handled_too():
    commits = []
    state = SimpleNamespace(progress=SimpleNamespace(step=3))
    one = Session(state, SimpleNamespace(commit=lambda: commits.append("saved")), StopRequest())
    with pytest.raises(Interrupted) as caught, one.stoppable():
        one.stop.request(2)
    assert (caught.value.number, commits) == (2, ["saved"])
