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
def workspace(course, tmp_path):
    return Workspace(course=course, work=tmp_path / "learn", runs=tmp_path / "runs", trust=True)


def lesson(workspace, number=1):
    return workspace.course.lesson(number)


def states(workspace):
    return [line["state"] for line in workspace.overview(workspace.progress.read())]


def test_start_check_hint_solution(workspace):
    one = lesson(workspace)
    assert states(workspace) == ["new", "to read"]
    written = workspace.start(one)
    assert [path.name for path in written] == ["01_answer.py", "shared.py"]
    assert states(workspace) == ["started", "to read"]
    assert not workspace.check(one).passed
    assert states(workspace) == ["not yet", "to read"]
    assert [workspace.hint(one).text for _ in range(3)] == ["general one", "general two", "general two"]
    with pytest.raises(UserError, match="once your exercise has passed"):
        workspace.solution(one, give_up=False)
    workspace.file(one).write_text("def answer(): return 42\n")
    assert workspace.check(one).passed
    assert states(workspace) == ["passed", "to read"]
    assert "42" in workspace.solution(one, give_up=False)
    entry = workspace.progress.read().lessons["mine/01_answer"]
    assert (entry.attempts, entry.gave_up, entry.claims_held) == (2, False, 1)
    assert entry.passed
    assert workspace.next_lesson(workspace.progress.read()) is None


def test_hints_are_about_the_mistake_that_was_recognised(workspace):
    one = lesson(workspace)
    workspace.start(one)
    workspace.file(one).write_text("def answer(): return 41\n")
    assert workspace.says(one, workspace.check(one).wrong) == "One is missing."
    hints = [workspace.hint(one) for _ in range(2)]
    assert [(hint.text, hint.number, hint.of) for hint in hints] == [("add one", 1, 3), ("general one", 2, 3)]
    workspace.check(one)
    assert workspace.hint(one).number == 3
    workspace.file(one).write_text("def answer(): return 40\n")
    workspace.check(one)
    assert workspace.hint(one).text == "add two"


def test_progress_shows_the_best_check_not_the_last(course, workspace):
    one = lesson(workspace)
    (course / "01_answer" / "check.py").write_text(
        "def check(learner, expect):\n"
        '    if expect.true("works", learner.answer() > 0, expected="a number above 0", found="another"):\n'
        '        expect.equal("answer", learner.answer(), 42)\n'
    )
    workspace.start(one)
    for answer, held in ((0, (0, 1)), (41, (1, 2)), (0, (1, 2)), (42, (2, 2)), (41, (2, 2))):
        workspace.file(one).write_text(f"def answer(): return {answer}\n")
        workspace.check(one)
        (line, _) = workspace.overview(workspace.progress.read())
        assert (line["claims_held"], line["claims"]) == held, answer
    assert line["state"] == "passed"


def test_an_exercise_is_never_overwritten(workspace):
    one = lesson(workspace)
    workspace.start(one)
    workspace.file(one).write_text("mine")
    with pytest.raises(UserError, match=r"there already\n.*--again"):
        workspace.start(one)
    assert workspace.file(one).read_text() == "mine"
    for number in (1, 2):
        workspace.start(one, again=True)
        assert workspace.file(one).with_name(f"01_answer.before-{number}.py").exists()
    assert workspace.file(one).with_name("01_answer.before-1.py").read_text() == "mine"
    (workspace.work / "shared.py").write_text("changed")
    workspace.start(one, again=True)
    assert (workspace.work / "shared.py").read_text() == "changed"


def test_giving_up_is_remembered(workspace):
    assert "42" in workspace.solution(lesson(workspace), give_up=True)
    assert workspace.progress.read().lessons["mine/01_answer"].gave_up


def test_checks_of_a_foreign_course_run_only_when_trusted(course, tmp_path):
    (course / "01_answer" / "check.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + CHECK)
    workspace = Workspace(course=course, work=tmp_path / "learn", trust=False)
    workspace.start(lesson(workspace))
    with pytest.raises(UserError, match=r"code that would run on this machine.*\n.*--trust"):
        workspace.check(lesson(workspace))
    assert not (tmp_path / "ran").exists()
    trusted = Workspace(course=course, work=tmp_path / "learn", trust=True)
    trusted.check(lesson(trusted))
    assert (tmp_path / "ran").exists()


def test_showing_a_foreign_course_runs_nothing(course, tmp_path):
    for file in ("check.py", "exercise.py", "solution.py"):
        (course / "01_answer" / file).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    workspace = Workspace(course=course, work=tmp_path / "learn")
    workspace.overview(workspace.progress.read())
    workspace.own_results(lesson(workspace))
    workspace.start(lesson(workspace))
    workspace.hint(lesson(workspace))
    assert not (tmp_path / "ran").exists()


def test_missing_files_are_one_message(workspace):
    with pytest.raises(UserError, match=r"no exercise of yours here\n.*learn start 1"):
        workspace.check(lesson(workspace))
    with pytest.raises(UserError, match="lesson 2 has no exercise"):
        workspace.start(lesson(workspace, 2))
    (workspace.course.folder / "01_answer" / "solution.py").unlink()
    with pytest.raises(UserError, match="has no solution for this lesson"):
        workspace.solution(lesson(workspace), give_up=True)


def test_the_embedded_course_copies_practice_and_tickets(tmp_path):
    workspace = Workspace(work=tmp_path / "learn")
    names = [path.relative_to(tmp_path / "learn").as_posix() for path in workspace.start(workspace.course.lesson(1))]
    assert names == ["01_continue_training.py", "practice.py", "tickets/test.csv", "tickets/train.csv", "tickets/validation.csv"]


def test_own_results(tmp_path):
    workspace = Workspace(work=tmp_path / "learn", runs=tmp_path / "runs")
    third = workspace.course.lesson(3)
    empty = workspace.own_results(third)
    assert (empty.table, empty.saved) == (None, None)
    assert [make.method for make in empty.commands] == ["", "full", "scratch"]
    assert empty.commands[0].command == "finewright learn start 3"  # whoever reads before they start has no messages yet
    workspace.start(third)
    assert [make.method for make in workspace.own_results(third).commands] == ["full", "scratch"]
    assert workspace.picture(third, empty) is None
    made_runs.write_runs(tmp_path / "runs")
    own = workspace.own_results(third)
    assert [row[0] for row in own.table.rows] == ["full", "scratch"]
    path = workspace.picture(third, own)
    stamp = path.stat().st_mtime_ns
    assert workspace.picture(third, own).stat().st_mtime_ns == stamp
    made_runs.write_run(tmp_path / "runs", "full", seed=7)
    assert workspace.picture(third, workspace.own_results(third)).stat().st_mtime_ns > stamp
    assert workspace.picture(third, own, dark=True) != path


def test_a_table_that_the_exercise_wrote(tmp_path):
    workspace = Workspace(work=tmp_path / "learn")
    fifth = workspace.course.lesson(5)
    workspace.work.mkdir()
    kept = workspace.file(fifth).with_suffix(".json")
    kept.write_text(json.dumps({"title": "T", "headings": ["a", "b"], "rows": [["1", "2"], ["3"]]}))
    assert workspace.own_results(fifth).saved.rows == [["1", "2"]]
    for broken in ("{", "[]", '{"title": 1}', "[" * 100_000):
        kept.write_text(broken)
        assert workspace.own_results(fifth).saved is None


def test_an_own_course_has_its_own_folder_and_progress(workspace):
    assert workspace.file(lesson(workspace)).parts[-3:] == ("learn", "mine", "01_answer.py")
    assert workspace.progress.path.parts[-2:] == ("learn", "progress.json")
    assert Course().name not in workspace.file(lesson(workspace)).parts
