"""A learner at the course: files, checks, hints, solutions, own numbers."""

import json

import pytest

from finewright.core.errors import UserError
from finewright.learn.course import Course
from finewright.learn.workspace import Workspace
from support import made_runs

CHECK = (
    'def check(learner, expect):\n    expect.equal("answer", learner.answer(), 42, wrong={41: "one_short", 40: "two_short"})\n'
)
HINTS = """steps = ["general one", "general two"]
[wrong.one_short]
says = "One is missing."
steps = ["add one"]
[wrong.two_short]
says = "Two are missing."
steps = ["add two"]
"""


@pytest.fixture
def course(tmp_path):
    """A course of one quick exercise and one lesson to read."""
    folder = tmp_path / "mine" / "01_answer"
    folder.mkdir(parents=True)
    (folder / "lesson.toml").write_text('title = "T"\nsummary = "S"\nminutes = 1\n')
    (folder / "lesson.md").write_text("Hello <b>you</b>.\n\n[[yours]]\n")
    (folder / "hints.toml").write_text(HINTS)
    (folder / "exercise.py").write_text("def answer():\n    raise NotImplementedError\n")
    (folder / "check.py").write_text(CHECK)
    (folder / "solution.py").write_text("def answer():\n    return 42\n")
    (folder.parent / "shared.py").write_text("X = 1\n")
    other = tmp_path / "mine" / "02_read"
    other.mkdir()
    (other / "lesson.toml").write_text('title = "R"\nsummary = "S"\nminutes = 1\n')
    (other / "lesson.md").write_text("Only text.\n")
    (other / "hints.toml").write_text('steps = ["none"]\n')
    return folder.parent


@pytest.fixture
def desk(course, tmp_path):
    return Workspace(course=course, work=tmp_path / "learn", runs=tmp_path / "runs", trust=True)


def lesson(desk, number=1):
    return desk.course.lesson(number)


def states(desk):
    return [line["state"] for line in desk.overview(desk.progress.read())]


def test_start_check_hint_solution(desk):
    one = lesson(desk)
    assert states(desk) == ["new", "to read"]
    written = desk.start(one)
    assert [path.name for path in written] == ["01_answer.py", "shared.py"]
    assert states(desk) == ["started", "to read"]
    assert not desk.check(one).passed
    assert states(desk) == ["not yet", "to read"]
    assert [desk.hint(one).text for _ in range(3)] == ["general one", "general two", "general two"]
    with pytest.raises(UserError, match="once your exercise has passed"):
        desk.solution(one, give_up=False)
    desk.file(one).write_text("def answer(): return 42\n")
    assert desk.check(one).passed
    assert states(desk) == ["passed", "to read"]
    assert "42" in desk.solution(one, give_up=False)
    entry = desk.progress.read().lessons["mine/01_answer"]
    assert (entry.attempts, entry.gave_up, entry.claims_held) == (2, False, 1)
    assert entry.passed
    assert desk.next_lesson(desk.progress.read()) is None


def test_hints_are_about_the_mistake_that_was_recognised(desk):
    one = lesson(desk)
    desk.start(one)
    desk.file(one).write_text("def answer(): return 41\n")
    assert desk.says(one, desk.check(one).wrong) == "One is missing."
    hints = [desk.hint(one) for _ in range(2)]
    assert [(hint.text, hint.number, hint.of) for hint in hints] == [("add one", 1, 3), ("general one", 2, 3)]
    desk.check(one)
    assert desk.hint(one).number == 3
    desk.file(one).write_text("def answer(): return 40\n")
    desk.check(one)
    assert desk.hint(one).text == "add two"


def test_an_exercise_is_never_overwritten(desk):
    one = lesson(desk)
    desk.start(one)
    desk.file(one).write_text("mine")
    with pytest.raises(UserError, match=r"there already\n.*--again"):
        desk.start(one)
    assert desk.file(one).read_text() == "mine"
    for number in (1, 2):
        desk.start(one, again=True)
        assert desk.file(one).with_name(f"01_answer.before-{number}.py").exists()
    assert desk.file(one).with_name("01_answer.before-1.py").read_text() == "mine"
    (desk.work / "shared.py").write_text("changed")
    desk.start(one, again=True)
    assert (desk.work / "shared.py").read_text() == "changed"


def test_giving_up_is_remembered(desk):
    assert "42" in desk.solution(lesson(desk), give_up=True)
    assert desk.progress.read().lessons["mine/01_answer"].gave_up


def test_checks_of_a_foreign_course_run_only_when_trusted(course, tmp_path):
    (course / "01_answer" / "check.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + CHECK)
    desk = Workspace(course=course, work=tmp_path / "learn", trust=False)
    desk.start(lesson(desk))
    with pytest.raises(UserError, match=r"code that would run on this machine.*\n.*--trust"):
        desk.check(lesson(desk))
    assert not (tmp_path / "ran").exists()
    trusted = Workspace(course=course, work=tmp_path / "learn", trust=True)
    trusted.check(lesson(trusted))
    assert (tmp_path / "ran").exists()


def test_looking_at_a_foreign_course_runs_nothing(course, tmp_path):
    for file in ("check.py", "exercise.py", "solution.py"):
        (course / "01_answer" / file).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    desk = Workspace(course=course, work=tmp_path / "learn")
    desk.overview(desk.progress.read())
    desk.yours(lesson(desk))
    desk.start(lesson(desk))
    desk.hint(lesson(desk))
    assert not (tmp_path / "ran").exists()


def test_what_is_not_there_is_one_message(desk):
    with pytest.raises(UserError, match=r"no exercise of yours here\n.*learn start 1"):
        desk.check(lesson(desk))
    with pytest.raises(UserError, match="lesson 2 has no exercise"):
        desk.start(lesson(desk, 2))
    (desk.course.folder / "01_answer" / "solution.py").unlink()
    with pytest.raises(UserError, match="brings no solution"):
        desk.solution(lesson(desk), give_up=True)


def test_the_embedded_course_brings_practice_and_tickets(tmp_path):
    desk = Workspace(work=tmp_path / "learn")
    names = [path.relative_to(tmp_path / "learn").as_posix() for path in desk.start(desk.course.lesson(1))]
    assert names == ["01_continue_training.py", "practice.py", "tickets/test.csv", "tickets/train.csv", "tickets/validation.csv"]


def test_own_numbers(tmp_path):
    desk = Workspace(work=tmp_path / "learn", runs=tmp_path / "runs")
    third = desk.course.lesson(3)
    empty = desk.yours(third)
    assert (empty.table, empty.kept) == (None, None)
    assert [make.method for make in empty.makes] == ["", "full", "scratch"]
    assert empty.makes[0].command == "finewright learn start 3"  # whoever reads before they start has no messages yet
    desk.start(third)
    assert [make.method for make in desk.yours(third).makes] == ["full", "scratch"]
    assert desk.picture(third, empty) is None
    made_runs.several(tmp_path / "runs")
    own = desk.yours(third)
    assert [row[0] for row in own.table.rows] == ["full", "scratch"]
    path = desk.picture(third, own)
    stamp = path.stat().st_mtime_ns
    assert desk.picture(third, own).stat().st_mtime_ns == stamp
    made_runs.finished(tmp_path / "runs", "full", seed=7)
    assert desk.picture(third, desk.yours(third)).stat().st_mtime_ns > stamp
    assert desk.picture(third, own, dark=True) != path


def test_a_table_that_the_exercise_left(tmp_path):
    desk = Workspace(work=tmp_path / "learn")
    fifth = desk.course.lesson(5)
    desk.work.mkdir()
    kept = desk.file(fifth).with_suffix(".json")
    kept.write_text(json.dumps({"title": "T", "headings": ["a", "b"], "rows": [["1", "2"], ["3"]]}))
    assert desk.yours(fifth).kept.rows == [["1", "2"]]
    for broken in ("{", "[]", '{"title": 1}', "[" * 100_000):
        kept.write_text(broken)
        assert desk.yours(fifth).kept is None


def test_an_own_course_has_its_own_folder_and_progress(desk):
    assert desk.file(lesson(desk)).parts[-3:] == ("learn", "mine", "01_answer.py")
    assert desk.progress.path.parts[-2:] == ("learn", "progress.json")
    assert Course().name not in desk.file(lesson(desk)).parts
