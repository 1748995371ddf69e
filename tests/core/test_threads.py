"""Native libraries get one thread for a while, and are searched once."""

import threadpoolctl
from sklearn import linear_model  # noqa: F401  brings libraries of its own

from finewright.core import threads


def num_threads():
    return {library["filepath"]: library["num_threads"] for library in threadpoolctl.threadpool_info()}


def test_every_library_has_one_thread_inside_and_what_it_had_afterwards():
    with threadpoolctl.threadpool_limits(limits=2):
        before = num_threads()
        assert before
        assert 2 in before.values(), "there is something to limit"
        with threads.running_single_threaded():
            assert {*num_threads().values()} == {1}
        assert num_threads() == before


def test_the_libraries_are_searched_once(monkeypatch):
    searched, honest = [], threadpoolctl.ThreadpoolController

    def search():
        searched.append(1)
        return honest()

    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", search)
    threads._find_libraries.cache_clear()
    for _ in range(3):
        with threads.running_single_threaded():
            pass
    assert len(searched) == 1
