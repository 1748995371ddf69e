"""A whole session on a disk that fails at one of its calls: the next session ends like an uninterrupted run."""

import errno
import shutil

import pytest

from finewright.core.errors import ExitCode, UserError
from support import sessions
from support.calls import OPTIONS
from support.faults import Kill, Killed, Refuse, faulty


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        yield sessions.place(tmp_path_factory.mktemp("refused"))


@pytest.fixture(scope="module")
def whole(place):
    """(what the run comes to, number of calls that change something on disk)."""
    sessions.train(place, place / "first", **OPTIONS)  # it leaves a plan in the cache, which those that are counted find
    counted = Kill(10**9)
    with faulty(counted):
        folder = sessions.train(place, place / "whole", **OPTIONS)
    return sessions.made(folder), counted.calls


def require_same_after(place, out, fault, *, expected):
    """Return what ended the first session; the second one, on a good disk, must come to the expected result."""
    shutil.rmtree(out, ignore_errors=True)
    ended = None
    with faulty(fault):
        try:
            sessions.train(place, out, **OPTIONS)
        except (Killed, UserError) as error:
            ended = error
    assert sessions.made(sessions.train(place, out, **OPTIONS)) == expected
    return ended


def spread(num_calls, parts):
    return range(1, num_calls + 1, max(1, num_calls // parts))


def killed(place, tmp_path, whole, *, parts):
    expected, num_calls = whole
    assert num_calls > 100
    for at in spread(num_calls, parts):
        assert isinstance(require_same_after(place, tmp_path / "run", Kill(at, torn=True), expected=expected), Killed)


def refused(place, tmp_path, whole, *, parts, for_ever):
    expected, num_calls = whole
    for at in spread(num_calls, parts):
        ended = require_same_after(place, tmp_path / "run", Refuse(at, errno.ENOSPC, for_ever=for_ever), expected=expected)
        if for_ever or ended is not None:
            assert isinstance(ended, UserError)
            assert (ended.code, "No space left on device" in ended.what) in ((ExitCode.DISK, True), (ExitCode.USAGE, True)), at


def test_killed_at_some_calls_of_a_session(place, tmp_path, whole):
    killed(place, tmp_path, whole, parts=2)


def test_out_of_disk_space_from_some_call_on(place, tmp_path, whole):
    refused(place, tmp_path, whole, parts=2, for_ever=True)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_at_many_calls_of_a_session(place, tmp_path, whole):
    killed(place, tmp_path, whole, parts=60)


@pytest.mark.nightly
@pytest.mark.timeout(36_000)
def test_killed_and_refused_at_every_call_of_a_life(place, tmp_path, whole):
    killed(place, tmp_path, whole, parts=10**6)
    for for_ever in (False, True):
        refused(place, tmp_path, whole, parts=10**6, for_ever=for_ever)
