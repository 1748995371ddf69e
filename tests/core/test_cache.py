"""Entries appear whole or not at all."""

import itertools
import os
import random
import signal
import time

import pytest

from finewright.core import cache


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "cache"))


def put(key, content=b"abc", kind="kind"):
    with cache.create(kind, key) as place:
        (place / "file").write_bytes(content)


def test_what_was_made_is_found_and_nothing_else():
    assert cache.lookup("kind", "k1") is None
    put("k1")
    found = cache.lookup("kind", "k1")
    assert (found / "file").read_bytes() == b"abc"
    assert cache.lookup("other", "k1") is None


def test_what_fails_leaves_nothing():
    def half():
        with cache.create("kind", "k1") as place:
            (place / "file").write_bytes(b"ab")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        half()
    assert cache.lookup("kind", "k1") is None
    assert list((cache.cache_folder() / "kind").iterdir()) == []


def test_of_two_makers_one_wins_and_neither_fails():
    with cache.create("kind", "k1") as mine:
        (mine / "file").write_bytes(b"same")
        put("k1", b"same")
    assert (cache.lookup("kind", "k1") / "file").read_bytes() == b"same"
    assert len(list((cache.cache_folder() / "kind").iterdir())) == 1


def test_whoever_makes_an_entry_and_dies_lets_go_of_it():
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        with cache.entry_lock("kind", "k1"):
            os.write(writes, b".")
            time.sleep(60)
        os._exit(0)
    os.read(reads, 1)
    told = []

    def waiting():
        told.append("waits")
        os.kill(child, signal.SIGKILL)

    with cache.entry_lock("kind", "k1", waiting=waiting):
        assert told == ["waits"]
        with cache.entry_lock("kind", "k2", waiting=lambda: pytest.fail("another entry")):
            pass
    os.waitpid(child, 0)
    os.close(reads)
    os.close(writes)
    assert list((cache.cache_folder() / "kind").iterdir()) == []


def test_where_no_lock_can_be_nobody_waits(monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "taken"))
    with cache.entry_lock("kind", "k1"), cache.entry_lock("kind", "k1", waiting=lambda: pytest.fail("waits")):
        pass


def test_a_lock_that_was_left_goes_with_what_is_stale():
    with cache.entry_lock("kind", "k1"):
        lock = next((cache.cache_folder() / "kind").iterdir())
        os.utime(lock, (0, 0))
        put("k2")
        assert not lock.exists()
        told = []
        with cache.entry_lock("kind", "k1", waiting=lambda: told.append(1)):
            assert told == [], "its name is another file's by now"


def test_parts_of_a_key_do_not_run_into_each_other():
    assert cache.make_key(["ab", "c"]) != cache.make_key(["a", "bc"])
    assert cache.make_key([b"ab"]) == cache.make_key(["ab"]) == cache.make_key([memoryview(b"ab")])


def test_entries_used_longest_ago_go_first(monkeypatch):
    for number, key in enumerate(("old", "used", "new")):
        put(key, b"x" * 1000)
        os.utime(cache.cache_folder() / "kind" / key, (number + 1, number + 1))
    monkeypatch.setattr(cache, "MOST_BYTES", 2500)
    cache.lookup("kind", "old")
    put("newest", b"x" * 1000)
    assert {place.name for place in (cache.cache_folder() / "kind").iterdir()} == {"old", "newest"}


def test_of_one_kind_only_so_many_stay(monkeypatch):
    monkeypatch.setattr(cache, "MOST_ENTRIES", 2)
    put("another", kind="other")
    os.utime(cache.cache_folder() / "other" / "another", (0, 0))
    for number, key in enumerate("abc"):
        put(key)
        os.utime(cache.cache_folder() / "kind" / key, (number + 1, number + 1))
    assert {place.name for place in (cache.cache_folder() / "kind").iterdir()} == {"b", "c"}
    assert cache.lookup("other", "another") is not None


def test_the_newest_entry_stays_however_large(monkeypatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 10)
    put("large", b"x" * 100)
    assert cache.lookup("kind", "large") is not None


def test_what_was_left_unfinished_long_ago_is_removed():
    put("k1")
    left, recent = (cache.cache_folder() / "kind" / f".unfinished-{name}" for name in ("left", "recent"))
    left.mkdir()
    recent.mkdir()
    day_before = time.time() - 2 * 24 * 3600
    os.utime(left, (day_before, day_before))
    put("k2")
    assert not left.exists()
    assert recent.exists()


def test_where_it_lies(monkeypatch, tmp_path):
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FINEWRIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "finewright"
    assert cache.free_bytes() > 0


PAGES = [f"{index}\n" * 20_000 for index in range(3)]


def makes_and_reads(number):
    """What one process does: every entry is made or found, and read whole at the end; it never returns."""
    for index in itertools.cycle(range(len(PAGES))):
        place = cache.lookup("kind", f"k{number}-{index}")
        if place is None:
            with cache.create("kind", f"k{number}-{index}") as place:
                for part in ("a", "b"):
                    (place / part).write_text(PAGES[index])
        elif {part: (place / part).read_text() for part in ("a", "b")} != {"a": PAGES[index], "b": PAGES[index]}:
            os._exit(1)
        elif index == len(PAGES) - 1:
            os._exit(0)


def made_side_by_side(*, processes, rounds, seed):
    """Processes that make and read the same entries while half of them are killed: how many entries there are."""
    dice, seen = random.Random(seed), 0
    for number in range(rounds):
        children = []
        for _ in range(processes):
            child = os.fork()
            if child == 0:
                makes_and_reads(number)
            children.append(child)
        doomed = children[: processes // 2]
        for child in doomed:
            time.sleep(dice.uniform(0, 0.01))
            os.kill(child, signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert set(codes[len(doomed) :]) == {0}, "whoever is not killed finds or makes every entry, and reads it whole"
        assert set(codes) <= {0, -signal.SIGKILL}
        seen += len(list((cache.cache_folder() / "kind").glob(f"k{number}-*")))
    return seen


def test_many_that_share_it_never_read_a_part():
    assert made_side_by_side(processes=4, rounds=4, seed=1) == 4 * 3


@pytest.mark.faults
def test_eight_that_share_it_for_twenty_rounds():
    assert made_side_by_side(processes=8, rounds=20, seed=2) == 20 * 3


@pytest.mark.parametrize("name", ["file", cache._SEAL])
def test_an_entry_with_a_flipped_bit_is_removed_and_made_anew(name):
    put("k1")
    path = cache.cache_folder() / "kind" / "k1" / name
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(content)
    assert cache.lookup("kind", "k1") is None
    assert not path.parent.exists(), "else it would stand in the way of the new one"
    put("k1")
    assert cache.lookup("kind", "k1") is not None


def test_an_entry_that_belongs_to_somebody_else_is_left_alone(monkeypatch):
    put("k1")

    def refuse(path):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.lookup("kind", "k1") is None
    assert (cache.cache_folder() / "kind" / "k1").exists()
