"""The progress file: written whole, shared by programs, and readable after damage."""

import json
import multiprocessing
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finewright.core.errors import UserError
from finewright.learn.progress import LessonEntry, Progress, QuestionEntry, _parse


def filled(folder, *, num=6):
    progress = Progress(folder)
    with progress.change() as state:
        for number in range(num):
            state.lesson(f"finewright/{number:02}_lesson").attempts = number + 1
            state.question(f"finewright/{number:02}_lesson/q").box = number % 5 + 1
    return progress


def test_changes_are_saved(tmp_path):
    progress = filled(tmp_path / "learn")
    state = progress.read()
    assert state.lessons["finewright/03_lesson"] == LessonEntry(attempts=4)
    assert state.questions["finewright/03_lesson/q"] == QuestionEntry(box=4)
    assert progress.take_notes() == []
    assert {path.name for path in (tmp_path / "learn").iterdir()} == {"progress.json", ".progress.lock"}


def test_no_file_is_an_empty_state(tmp_path):
    assert Progress(tmp_path / "learn").read().lessons == {}
    assert not (tmp_path / "learn").exists()


def test_an_error_while_changing_changes_nothing(tmp_path):
    progress = filled(tmp_path)
    before = progress.path.read_bytes()

    def fail():
        with progress.change() as state:
            state.lesson("x").attempts = 9
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert progress.path.read_bytes() == before


def test_a_truncated_file_is_renamed_and_its_complete_entries_recovered(tmp_path):
    progress = filled(tmp_path)
    text = progress.path.read_text()
    cut = text[: text.index("04_lesson")]
    progress.path.write_text(cut)
    state = progress.read()
    assert set(state.lessons) == {f"finewright/{number:02}_lesson" for number in range(4)}
    [note] = progress.take_notes()
    assert "was damaged: 4 entries were recovered" in note
    assert (tmp_path / "progress.damaged-1.json").read_text() == cut
    again = progress.read()
    assert (again.lessons, progress.take_notes()) == (state.lessons, [])
    progress.path.write_text("")
    assert progress.read().lessons == {}
    assert (tmp_path / "progress.damaged-2.json").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), length=st.integers(0, 400), noise=st.binary(max_size=20))
def test_damage_neither_raises_nor_adds_entries(tmp_path, place, length, noise):
    progress = filled(tmp_path / "whole")
    whole, raw = progress.read(), progress.path.read_bytes()
    place %= len(raw)
    damaged = (raw[:place] + noise + raw[place + length :]).decode("utf-8", "replace")
    state, _ = _parse(damaged, where="x")
    untouched = raw[:place].decode("utf-8", "replace")
    for key, entry in whole.lessons.items():
        end = raw.find(b"}", raw.find(f'"lesson {key}"'.encode()))
        if end < place:
            assert state.lessons[key] == entry
    assert untouched == damaged[: len(untouched)]


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "{}", '{"entries": 5}', "\x00" * 50, "{" * 100_000, '{"entries": {"lesson a": {"attempts": -1}}}',
     '{"entries": {"lesson a": {"attempts": "many"}, "strange b": {}}}', '{"entries": {"question q": {"box": 9}}}'],
)  # fmt: skip
def test_invalid_files_are_renamed(tmp_path, text):
    (tmp_path / "progress.json").write_text(text)
    progress = Progress(tmp_path)
    state = progress.read()
    assert (state.lessons, state.questions) == ({}, {})
    assert len(progress.take_notes()) == 1


def test_damage_found_while_changing_is_reported_once(tmp_path):
    progress = filled(tmp_path)
    progress.path.write_text("{")
    with progress.change() as state:
        state.lesson("x").attempts = 1
    assert "was damaged" in progress.take_notes()[0]
    assert progress.take_notes() == []


def test_a_newer_format_is_not_damage(tmp_path):
    (tmp_path / "progress.json").write_text('{"version": 2, "entries": {}}')
    with pytest.raises(UserError, match="format 2, this one reads 1"):
        Progress(tmp_path).read()
    assert json.loads((tmp_path / "progress.json").read_text())["version"] == 2


def _count_up(folder, times):
    for _ in range(times):
        with Progress(folder).change() as state:
            state.lesson("x").attempts += 1


def test_concurrent_changes_are_not_lost(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_up, args=(tmp_path, 25)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert Progress(tmp_path).read().lessons["x"].attempts == 75


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write here"), Progress(tmp_path / "learn").change():
        pass


def test_a_file_in_the_way_is_one_message(tmp_path):
    (tmp_path / "learn").write_text("a file")
    with pytest.raises(UserError, match="cannot write here"), Progress(tmp_path / "learn").change():
        pass
