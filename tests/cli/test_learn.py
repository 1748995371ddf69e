"""`finewright learn`, as a person types it."""

import importlib.util
import io
import json
import shutil
import sys

import pytest

from finewright.learn.course import Course
from finewright.learn.grading import grader
from finewright.learn.progress import Progress
from support import made_runs
from support.commands import call
from support.lessons import wrong_answers

SEVEN = Course().lesson(7)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def learn(*words, given=""):
    """(exit code, standard output, standard error)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(given))
        return call("learn", *words)


def test_learn_alone_shows_the_lessons():
    code, out, _ = learn()
    assert code == 0
    for lesson in Course().lessons:
        assert lesson.about.title in out
    assert "Next: finewright learn show 1" in out
    listed = json.loads(learn("list", "--json")[1])["lessons"]
    assert [line["number"] for line in listed] == [1, 2, 3, 4, 5, 6, 7]
    assert {line["state"] for line in listed} == {"new"}
    assert learn("list", "--runs", "elsewhere", "--json")[0] == 0


def test_an_exercise_from_start_to_solution(place):
    code, out, _ = learn("start", "7")
    assert code == 0
    assert "wrote    learn/07_reading_a_comparison.py" in out
    code, out, _ = learn("check", "7")
    assert code == 1
    assert "expected  a body in place of NotImplementedError" in out
    assert "Not yet." in out
    shutil.copy(wrong_answers(SEVEN)["no_correction"].with_name("solution.py"), place / "learn" / "solution.py")
    shutil.copy(wrong_answers(SEVEN)["no_correction"], place / "learn" / "07_reading_a_comparison.py")
    code, out, _ = learn("check", "7", "--json")
    grade = json.loads(out)
    assert (code, grade["passed"], grade["wrong"]) == (1, False, "no_correction")
    assert grade["says"] == "The p-values come back as they were."
    assert [claim["ok"] for claim in grade["claims"]].count(False) >= 1
    assert "The smallest of n is multiplied by n." in learn("hint", "7")[1]
    assert json.loads(learn("hint", "7", "--json")[1])["number"] == 2
    code, _, err = learn("solution", "7")
    assert code == 2
    assert "--give-up" in err
    shutil.copy(SEVEN.solution, place / "learn" / "07_reading_a_comparison.py")
    code, out, _ = learn("check", "7")
    assert code == 0
    assert "Lesson 7 passed" in out
    assert "✗" not in out
    assert learn("solution", "7")[1] == SEVEN.solution.read_text() + "\n"
    assert json.loads(learn("solution", "7", "--json")[1])["solution"] == SEVEN.solution.read_text()
    assert "1 of 7 passed" in learn("progress")[1]
    assert json.loads(learn("progress", "--json")[1])["exercises_passed"] == 1


def test_show_without_runs_names_the_commands_and_with_runs_shows_them(place):
    out = learn("show", "3")[1]
    assert "No runs yet. Start them with:" in out
    assert "finewright train learn/tickets --model mini --method scratch" in out
    made_runs.write_runs(place / "runs")
    out = learn("show", "3")[1]
    assert "learn/pictures/finewright-03_transfer.png" in out
    assert (place / "learn" / "pictures" / "finewright-03_transfer.png").exists()
    assert "Not on this machine" not in out
    shown = json.loads(learn("show", "3", "--json")[1])
    assert shown["yours"]["rows"]
    assert shown["make"] == []
    assert "picture:" in learn("show", "5")[1]


def test_every_lesson_can_be_shown():
    for lesson in Course().lessons:
        code, out, _ = learn("show", lesson.number)
        assert code == 0
        assert f"Lesson {lesson.number}: {lesson.about.title}" in out
        assert "[[yours]]" not in out


def test_questions_as_json(place):
    questions = json.loads(learn("questions", "--json")[1])["questions"]
    assert len(questions) >= 24
    made_runs.write_runs(place / "runs")
    more = json.loads(learn("questions", "--json")[1])["questions"]
    assert len(more) - len(questions) >= 12
    for one in more:
        assert sum(option["ok"] for option in one["options"]) == 1
        assert all(option["text"] and option["why"] for option in one["options"])
    fourth = json.loads(learn("questions", "4", "--json")[1])["questions"]
    assert [one["key"].startswith("runs/") for one in fourth] == [False] * 5 + [True] * 2
    assert questions[0]["question"] in learn("questions", "1")[1]


def test_a_quiz_from_standard_input(place):
    code, out, _ = learn("quiz", "4", given="z\n" + "a\n" * 5 + "q\n")
    assert code == 0
    assert "5 of 5" in out
    assert out.count("your answer") >= 6
    state = Progress(place / "learn").read()
    assert len(state.questions) == 5
    right = sum(entry.right for entry in state.questions.values())
    assert f"{right} of 5 right." in out
    code, out, err = learn("quiz", "--json", "--count", "3", given="a\nb\n")
    assert json.loads(out)["asked"] == 2
    assert "your answer" in err
    assert learn("quiz", given="")[0] == 0


def test_an_answer_may_be_a_number():
    out = learn("quiz", "4", given="0\n9\n1\n2\nq\n")[1]
    assert "or 1 to 4, q to stop" in out
    assert out.count("your answer") == 5
    assert "of 2 right." in out


def test_a_damaged_progress_file_is_reported_once_and_work_continues(place):
    learn("quiz", "4", given="a\n" * 5 + "q\n")
    path = place / "learn" / "progress.json"
    path.write_text(path.read_text()[:-40])
    _, out, err = learn("progress")
    assert "warning: learn/progress.json was damaged: 4 entries were recovered" in err.replace("\n", " ")
    assert "due today" in out
    assert "warning" not in learn("progress")[2]


AFTER_DAMAGE = (
    "list", "list --json", "show 7 --json", "start 7", "start 7 --json", "check 7 --json", "hint 7", "hint 7 --json",
    "solution 7", "solution 7 --give-up --json", "quiz 7", "quiz 7 --json", "progress", "progress --json", "export --name A",
)  # fmt: skip


@pytest.mark.parametrize("words", AFTER_DAMAGE)
def test_every_command_reports_a_recovered_progress_file_once(place, words, monkeypatch):
    """Also one that ends with an error, as a solution that is not to be seen yet."""
    monkeypatch.setattr(grader, "grade", lambda jobs, **_: [grader.GradeResult()] * len(jobs))
    (place / "learn").mkdir()
    if words.startswith("check"):
        shutil.copy(SEVEN.exercise, place / "learn" / f"{SEVEN.name}.py")
    (place / "learn" / "progress.json").write_text("{")
    _, out, err = learn(*words.split(), given="a\n" * 5)
    assert err.replace("\n", " ").count("warning: learn/progress.json was damaged") == 1
    assert "damaged" not in out
    assert "warning" not in learn("progress")[2]


def test_damage_in_the_middle_of_a_round_is_reported(place):
    class Answers(io.StringIO):
        def readline(self):
            path = place / "learn" / "progress.json"
            if path.exists():
                path.write_text("{")
            return "a\n"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", Answers())
        _, _, err = call("learn", "quiz", "7", "--count", "2")
    assert "was damaged" in err


def test_handing_in_and_collecting(place):
    learn("start", "7")
    assert learn("export", "--name", "Ada [b]L.[/b]")[0] == 0
    code, out, _ = learn("import", "learn/results-Ada-b-L-b.json")
    assert code == 0
    assert "Ada [b]L.[/b]" in out
    unchecked = json.loads(learn("import", "learn/results-Ada-b-L-b.json", "--json")[1])
    assert (unchecked["rechecked"], unchecked["learners"][0]["passed_here"]) == (False, None)
    [line] = json.loads(learn("import", "learn/results-Ada-b-L-b.json", "--recheck", "--json")[1])["learners"]
    assert (line["passed"], line["passed_here"]) == ([], [])
    made_course(place)
    code, out, err = learn("import", "learn/results-Ada-b-L-b.json", "--recheck", "--json", "--course", "mine", "--trust")
    found = json.loads(out)
    assert (found["rechecked"], found["learners"][0]["passed_here"]) == (True, None), "of another course"
    assert "not graded, because they are of another course than mine: Ada [b]L.[/b] (finewright)" in err.replace("\n", " ")
    code, out, err = learn("import", "learn/progress.json")
    assert (code, out) == (3, "")
    assert "not a learner's results" in err


def made_course(place):
    folder = place / "mine" / "01_a"
    folder.mkdir(parents=True)
    (folder / "lesson.toml").write_text('title = "[red]T"\nsummary = "S"\nminutes = 1\n')
    (folder / "lesson.md").write_text("Text \x1b[31m of a stranger.\n")
    (folder / "hints.toml").write_text('steps = ["one"]\n')
    (folder / "exercise.py").write_text("X = 1\n")
    (folder / "check.py").write_text('def check(learner, expect):\n    expect.equal("\x1b[31mX", learner.X, 1)\n')


@pytest.mark.parametrize("words", [["check", "1", "--course", "mine"], ["--course", "mine", "check", "1"]])
def test_a_custom_course_needs_trust(place, words):
    made_course(place)
    assert learn("start", "1", "--course", "mine")[0] == 0
    code, out, err = learn(*words)
    assert (code, out) == (2, "")
    assert "is code that would run on this machine" in err
    code, out, _ = learn(*words, "--trust")
    assert code == 0
    assert "\x1b[31m" not in out
    assert "1 of 1 passed" in learn("progress", "--course", "mine")[1]
    assert "1 of 7 passed" not in learn("progress")[1]


def test_control_characters_of_a_custom_course_are_removed(place):
    made_course(place)
    out = learn("show", "1", "--course", "mine")[1]
    assert "\x1b[31m" not in out
    assert "[red]T" in out


FAULTS = (
    (["show", "9"], 2, "lessons here: 1, 2, 3"),
    (["check", "4"], 2, "finewright learn start 4"),
    (["show", "x"], 2, "Invalid value"),
    (["list", "--course", "none"], 2, "no such course folder"),
    (["import", "none.json"], 3, "not a learner's results"),
    (["quiz", "99"], 2, "no lesson 99"),
    (["lst"], 2, "No such command"),
)


@pytest.mark.parametrize(("words", "code", "message"), FAULTS)
def test_a_user_error_is_one_message(words, code, message):
    got, out, err = learn(*words)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_pages_without_their_libraries_are_one_message(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, out, err = learn("--web")
    assert (code, out) == (2, "")
    assert "pip install 'finewright[web]'" in err
