"""Handing in and collecting."""

import json

import pytest

from finewright.core.errors import UserError
from finewright.learn import submissions
from finewright.learn.course import Course
from finewright.learn.grading import grader
from finewright.learn.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(work=tmp_path / "learn")
    made.start(made.course.lesson(7))
    made.file(made.course.lesson(7)).write_text(made.course.lesson(7).solution.read_text())
    with made.progress.change() as state:
        state.lesson("finewright/07_reading_a_comparison").passed = "2026-01-01T00:00:00+00:00"
        state.lesson("finewright/06_memory").passed = "2026-01-01T00:00:00+00:00"
        state.question("finewright/07_reading_a_comparison/why-paired").right = 2
        state.question("runs/x/y").wrong = 1
        state.question("other/x").wrong = 50
    return made


def handed_in(workspace, learner="Ada L."):
    results = submissions.create_submission(workspace, workspace.progress.read(), learner=learner)
    return submissions.write_submission(results, submissions.default_path(workspace, learner))


def test_results_are_written_and_read_back(workspace):
    path = handed_in(workspace)
    assert path.name == "results-Ada-L.json"
    [results], _ = submissions.read_submissions([path])
    line = submissions.summarize(results)
    assert (line["learner"], line["passed"], line["answers_right"], line["answers"]) == ("Ada L.", [6, 7], 2, 3)
    with pytest.raises(UserError, match="the file exists already"):
        handed_in(workspace)


def test_rechecking_grades_the_source(workspace):
    handed_in(workspace)
    collected, _ = submissions.read_submissions([workspace.root / "results-Ada-L.json"])
    [passed] = submissions.recheck(collected, Course())
    assert passed == {7: True}, "lesson 6 was claimed and no file handed in"
    collected[0].lessons[6].source = "def interval(a, b): return (0, 1)"
    assert submissions.recheck(collected, Course()) == [{7: False}]


def made_course(folder):
    """One lesson whose exercise wants a file that the course's exercises share."""
    lesson = folder / "01_a"
    lesson.mkdir(parents=True)
    (lesson / "lesson.toml").write_text('title = "T"\nsummary = "S"\nminutes = 1\n')
    (lesson / "lesson.md").write_text("Text.\n")
    (lesson / "hints.toml").write_text('steps = ["one"]\n')
    (lesson / "exercise.py").write_text("import shared\nX = shared.X\n")
    (lesson / "check.py").write_text('def check(learner, expect):\n    expect.equal("X", learner.X, 42)\n')
    (folder / "shared.py").write_text("X = 42\n")
    return Course(folder)


def test_rechecking_copies_shared_files(tmp_path):
    course = made_course(tmp_path / "mine")
    workspace = Workspace(course=course.folder, work=tmp_path / "learn", trust=True)
    workspace.start(course.lesson(1))
    assert workspace.check(course.lesson(1)).passed
    results = submissions.create_submission(workspace, workspace.progress.read(), learner="Ada")
    assert submissions.recheck([results], course) == [{1: True}]


def test_rechecking_puts_practice_and_tickets_beside_the_file(workspace, monkeypatch):
    seen = []

    def grade(jobs, **_):
        folder = jobs[0].file.parent
        seen.extend(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return [grader.GradeResult()]

    monkeypatch.setattr(grader, "grade", grade)
    submissions.recheck([submissions.create_submission(workspace, workspace.progress.read(), learner="Ada")], Course())
    assert {"practice.py", "tickets/train.csv", "tickets/validation.csv", "07_reading_a_comparison.py"} <= set(seen)


def test_results_of_another_course_are_not_graded_by_this_course(workspace, tmp_path):
    results = submissions.create_submission(workspace, workspace.progress.read(), learner="Ada")
    other = results.model_copy(update={"course": "other"})
    passed = submissions.recheck([other], made_course(tmp_path / "mine"))
    assert passed == [None]
    assert submissions.summarize(other, passed[0])["passed_here"] is None


def test_a_folder_of_results_by_name(workspace, tmp_path):
    for name in ("Zoe", "ada", "Bo"):
        results = submissions.create_submission(workspace, workspace.progress.read(), learner=name)
        submissions.write_submission(results, tmp_path / "in" / f"{name}.json")
    (tmp_path / "in" / "progress.json").write_text('{"format": "finewright-progress"}')
    (tmp_path / "in" / "table.json").write_text("[]")
    found, others = submissions.read_submissions([tmp_path / "in"])
    assert [one.learner for one in found] == ["ada", "Bo", "Zoe"]
    assert [path.name for path in others] == ["progress.json", "table.json"]
    (tmp_path / "in" / "torn.json").write_text('{"format": "fine')
    with pytest.raises(UserError, match=r"torn\.json"):
        submissions.read_submissions([tmp_path / "in"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not a learner"), ("{}", "format: Field required"), ("[]", "not a learner"), ("[" * 100_000, "not a learner")],
)
def test_invalid_files_are_named(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=rf"x\.json: .*{message}") as caught:
        submissions.read_submissions([tmp_path / "x.json"])
    assert caught.value.code == 3


def test_other_formats_sizes_and_names_are_refused(workspace, tmp_path, monkeypatch):
    path = handed_in(workspace)
    read = json.loads(path.read_text())
    (tmp_path / "x.json").write_text(json.dumps(read | {"format": "other"}))
    with pytest.raises(UserError, match="format is 'other'"):
        submissions.read_submissions([tmp_path / "x.json"])
    monkeypatch.setattr(submissions, "LARGEST_FILE_BYTES", 1 << 20)
    (tmp_path / "x.json").write_text(json.dumps(read | {"more": "x" * (1 << 20)}))
    with pytest.raises(UserError, match="larger than 1 MB"):
        submissions.read_submissions([tmp_path / "x.json"])
    with pytest.raises(UserError, match="wanted a name"):
        submissions.create_submission(workspace, workspace.progress.read(), learner="  ")
    with pytest.raises(UserError, match="no results here"):
        submissions.read_submissions([tmp_path / "learn" / "tickets"])


def test_a_lesson_named_like_a_path_is_not_written(workspace, tmp_path):
    read = json.loads(handed_in(workspace).read_text())
    read["lessons"] = [{"number": 1, "name": "../../evil", "source": "x"}]
    (tmp_path / "x.json").write_text(json.dumps(read))
    assert submissions.recheck(submissions.read_submissions([tmp_path / "x.json"])[0], Course()) == [{}]
