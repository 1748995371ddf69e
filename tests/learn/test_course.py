"""The course: every lesson is found by its folder and tested by existing."""

import ast
import re
import shlex

import pytest
from typer.main import get_command

from finewright import methods
from finewright.cli import main
from finewright.core import assets
from finewright.core.colors import METHOD_COLORS
from finewright.core.errors import UserError
from finewright.learn.course import EMBEDDED, Course
from finewright.learn.grading import grader
from support.lessons import wrong_answers

COURSE = Course()
WITH_EXERCISE = [lesson for lesson in COURSE.lessons if lesson.has_exercise]
ASKED_FOR = (
    "lora-advantage", "why-early-frozen", "transfer-learning-means", "seven-billion-on-8gb", "what-alpha-does",
    "what-the-head-is", "last-token", "prompt-memory", "overfitting", "leakage", "interval-meaning", "merging-quantised",
)  # fmt: skip


@pytest.fixture(scope="module")
def grades():
    """Every exercise, solution and wrong answer, graded in one process that imports torch once."""
    jobs = {}
    for lesson in WITH_EXERCISE:
        for file in (lesson.exercise, lesson.solution, *wrong_answers(lesson).values()):
            jobs[lesson.name, file.stem] = grader.Attempt(file, lesson.check)
    grade = grader.grade(list(jobs.values()), seconds=280, memory_mb=4096)
    return dict(zip(jobs, grade, strict=True))


def functions(path, *, blank=False):
    """Signatures by name, as they are written; `blank`: only of those that are not written yet, which the learner writes."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and (is_blank(node) or not blank):
            found[node.name] = ast.unparse(node.args), ast.unparse(node.returns) if node.returns else ""
    return found


def is_blank(function):
    raised = [node.exc for node in function.body if isinstance(node, ast.Raise)]
    return any(isinstance(one, ast.Name) and one.id == "NotImplementedError" for one in raised)


@pytest.mark.parametrize("lesson", WITH_EXERCISE, ids=lambda lesson: lesson.name)
class TestEveryExercise:
    def test_the_blank_exercise_fails_and_says_what_is_not_written(self, lesson, grades):
        grade = grades[lesson.name, "exercise"]
        assert not grade.passed
        assert [claim.found for claim in grade.claims if not claim.ok] == ["not written yet"]

    def test_the_solution_passes(self, lesson, grades):
        grade = grades[lesson.name, "solution"]
        assert [vars(claim) for claim in grade.claims if not claim.ok] == []
        assert grade.passed

    def test_each_known_wrong_answer_fails_with_its_own_hint(self, lesson, grades):
        assert len(wrong_answers(lesson)) >= 4
        recognised = {name: grades[lesson.name, f"wrong_{name}"].wrong for name in wrong_answers(lesson)}
        assert recognised == {name: name for name in wrong_answers(lesson)}
        assert set(lesson.hints.wrong) == set(wrong_answers(lesson))
        says = [wrong.says for wrong in lesson.hints.wrong.values()]
        assert len(set(says)) == len(says)
        assert not any(grades[lesson.name, f"wrong_{name}"].passed for name in wrong_answers(lesson))

    def test_the_exercise_asks_for_what_the_solution_writes(self, lesson, grades):
        asked, written = functions(lesson.exercise, blank=True), functions(lesson.solution)
        assert len(lesson.hints.steps) >= 3
        assert asked == {name: written.get(name) for name in asked}
        assert lesson.exercise.read_text().count("raise NotImplementedError") == len(asked) >= 3


@pytest.mark.parametrize("lesson", COURSE.lessons, ids=lambda lesson: lesson.name)
class TestEveryLesson:
    def test_its_files_are_valid(self, lesson):
        assert lesson.about.title
        assert lesson.hints.steps
        assert lesson.text.count("[[yours]]") == (lesson.about.figure != "none")
        assert 250 < len(lesson.text.split()) < 700
        for name in lesson.pictures:
            assert f"]({name})" in lesson.text, name

    def test_its_commands_parse(self, lesson):
        commands = get_command(main.app).commands
        written = re.findall(r"^finewright .*", lesson.text, re.MULTILINE)
        for command in (*written, *(make.command for make in lesson.about.make)):
            name, *words = shlex.split(command)[1:]
            commands[name].make_context(name, words)


def test_numbers_of_gpt2_small_stand_in_the_lessons():
    lora, freezing = COURSE.lesson(4).text, COURSE.lesson(5).text
    assert "294,912" in lora
    assert "0.237%" in lora
    for number in ("7,089,408", "14,177,280", "21,265,152", "28,353,024", "17.1%"):
        assert number in freezing


def test_there_are_enough_questions():
    questions = COURSE.questions
    assert len(questions) >= 24
    assert len({one.key for one in questions}) == len(questions)
    assert set(ASKED_FOR) <= {one.id for one in questions}
    for one in questions:
        assert sum(option.ok for option in one.options) == 1
        assert all(len(option.why) > 10 for option in one.options)
        assert len(one.options) >= 3


def test_length_does_not_give_the_answer_away():
    questions = COURSE.questions
    for measure in (max, min):
        hits = sum(len(one.right.text) == measure(len(option.text) for option in one.options) for one in questions)
        assert hits <= 0.4 * len(questions), measure


def made(folder, *, about='title = "T"\nsummary = "S"\nminutes = 3\n', questions=None):
    folder.mkdir(parents=True)
    (folder / "lesson.toml").write_text(about)
    (folder / "lesson.md").write_text("Text.\n")
    (folder / "hints.toml").write_text('steps = ["one"]\n')
    if questions:
        (folder / "questions.toml").write_text(questions)
    return folder


def test_a_custom_course(tmp_path):
    made(tmp_path / "mine" / "01_first")
    made(tmp_path / "mine" / "12_other")
    (tmp_path / "mine" / "notes").mkdir()
    course = Course(tmp_path / "mine")
    assert [lesson.number for lesson in course.lessons] == [1, 12]
    assert course.lessons[0].key == "mine/01_first"
    assert not course.embedded
    assert not course.lessons[0].has_exercise
    with pytest.raises(UserError, match=r"no lesson 5\n.*lessons here: 1, 12"):
        course.lesson(5)


def test_a_foreign_course_named_like_ours_keeps_its_own_progress(tmp_path):
    made(tmp_path / "finewright" / "01_continue_training")
    assert Course(tmp_path / "finewright").lessons[0].key != COURSE.lessons[0].key
    assert Course(EMBEDDED).name == COURSE.name == "finewright"


@pytest.mark.parametrize(
    ("about", "questions", "message"),
    [
        ('title = "T"\nsummary = "S"\n', None, r"lesson\.toml: minutes: Field required"),
        ('title = "T"\nsummary = "S"\nminutes = 3\nminuts = 4\n', None, r"minuts: Extra inputs"),
        ("title = \n", None, r"lesson\.toml: not readable"),
        ('title = "T"\nsummary = "S"\nminutes = 3\nfigure = "pie"\n', None, "figure"),
        (
            None,
            '[[questions]]\nid = "q"\nquestion = "?"\noptions = [{text = "a", why = "b"}, {text = "c", why = "d"}]',
            "exactly one option",
        ),
        (
            None,
            '[[questions]]\nid = "q"\nquestion = "?"\noptions = [{text = "a", ok = true, why = "b"}, {text = "a", why = "d"}]',
            "same",
        ),
    ],
)
def test_an_invalid_lesson_is_one_message_with_its_file(tmp_path, about, questions, message):
    folder = made(tmp_path / "c" / "01_a", **({"about": about} if about else {}), questions=questions)
    lesson = Course(folder.parent).lessons[0]
    with pytest.raises(UserError, match=message):
        _ = (lesson.about, lesson.questions)


def test_folders_that_are_not_a_course(tmp_path):
    with pytest.raises(UserError, match="no such course folder"):
        Course(tmp_path / "none")
    with pytest.raises(UserError, match="no lessons here"):
        Course(tmp_path)
    made(tmp_path / "c" / "01_a")
    made(tmp_path / "c" / "01_b")
    with pytest.raises(UserError, match="two lessons are number 1"):
        Course(tmp_path / "c")


@pytest.mark.parametrize("drawing", sorted(assets.COURSE.glob("*/*.svg")), ids=lambda path: path.stem)
def test_a_drawing_scales_and_knows_the_dark_theme(drawing):
    text = drawing.read_text()
    root = text[: text.index(">")]
    assert "viewBox=" in root
    assert not re.search(r"\b(width|height)=", root)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "prefers-color-scheme: dark" in style
    plain = text.replace(style, "")
    for name, color in set(re.findall(r'(fill|stroke)="(#[0-9a-f]+)"', plain)) - {("stroke", "#8b949e")}:
        assert f'[{name}="{color}"] {{ {name}: #' in style, (name, color)


def test_methods_have_the_colours_of_the_reports_in_drawings():
    text = (assets.COURSE / "06_memory" / "seven_billion.svg").read_text()
    for name in ("full", "lora", "qlora"):
        light, dark = METHOD_COLORS[methods.color_number(name)]
        assert f'fill="{light}"/>' in text
        assert f'[fill="{light}"] {{ fill: {dark}; }}' in text
