"""Which questions are asked, in which order, and what is remembered of the answers."""

import datetime

import pytest

from finewright.core.errors import UserError
from finewright.learn import quiz
from finewright.learn.course import Course, Option, Question
from finewright.learn.progress import Progress, QuestionEntry, State
from support import made_runs

TODAY = datetime.date(2026, 3, 1)


def made(key, num_options=3):
    options = [Option(text=f"{key}{i}", ok=i == 1, why="because of this") for i in range(num_options)]
    return Question(id="q", question=f"{key}?", options=options, key=key)


def right(quiz_round):
    return next(place for place, option in enumerate(quiz_round.options()) if option.ok)


def wrong(quiz_round):
    return next(place for place, option in enumerate(quiz_round.options()) if not option.ok)


def test_due_questions_come_first_then_new_ones_then_known_ones():
    state = State()
    state.questions = {
        "known": QuestionEntry(box=4, due="2026-03-08"),
        "missed": QuestionEntry(box=1, due="2026-03-01"),
        "old": QuestionEntry(box=3, due="2026-02-20"),
        "later": QuestionEntry(box=2, due="2026-03-02"),
    }
    keys = ["new a", "known", "old", "later", "missed", "new b"]
    chosen = [one.key for one in quiz.choose_questions([made(key) for key in keys], state, count=9, today=TODAY)]
    assert chosen[:2] == ["missed", "old"]
    assert set(chosen[2:4]) == {"new a", "new b"}
    assert chosen[4:] == ["later", "known"]
    assert len(quiz.choose_questions([made(key) for key in keys], state, count=3, today=TODAY)) == 3


def test_every_third_new_question_is_about_own_runs():
    questions = [made(f"c/{i}") for i in range(10)] + [made(f"runs/{i}") for i in range(4)]
    chosen = [one.key.startswith("runs/") for one in quiz.choose_questions(questions, State(), count=12, today=TODAY)]
    assert chosen == [False, False, True] * 4


def test_leitner_boxes():
    entry, days = QuestionEntry(), []
    for ok in (True, True, True, True, True, False, True):
        quiz.record_answer(entry, right=ok, today=TODAY)
        days.append((entry.box, (datetime.date.fromisoformat(entry.due) - TODAY).days))
    assert days == [(2, 1), (3, 3), (4, 7), (5, 21), (5, 21), (1, 0), (2, 1)]
    assert (entry.right, entry.wrong) == (6, 1)


def test_a_round_scores_the_first_try_and_repeats_missed_questions(tmp_path):
    quiz_round = quiz.QuizRound([made("a"), made("b"), made("c")], progress=Progress(tmp_path))
    assert quiz_round.answer(right(quiz_round), today=TODAY).ok
    assert not quiz_round.answer(wrong(quiz_round), today=TODAY).ok
    assert Progress(tmp_path).read().questions["b"].box == 1
    quiz_round.answer(right(quiz_round), today=TODAY)
    assert (quiz_round.current.key, quiz_round.again, quiz_round.score) == ("b", True, (2, 3))
    assert quiz_round.answer(right(quiz_round), today=TODAY).again
    assert quiz_round.current is None
    assert quiz_round.score == (2, 3)
    saved = Progress(tmp_path).read().questions
    assert (saved["b"].wrong, saved["b"].right, saved["a"].box) == (1, 0, 2)
    assert quiz_round.as_json()["right"] == 2
    assert [line["ok"] for line in quiz_round.as_json()["answers"]] == [True, False, True]


def test_options_are_shuffled_once(tmp_path):
    question = made("x", num_options=6)
    games = [quiz.QuizRound([question], progress=Progress(tmp_path), seed=seed) for seed in range(8)]
    assert all(quiz_round.options() == quiz_round.options() for quiz_round in games)
    assert len({right(quiz_round) for quiz_round in games}) > 2


def test_an_option_that_does_not_exist(tmp_path):
    quiz_round = quiz.QuizRound([made("a")], progress=Progress(tmp_path))
    with pytest.raises(UserError, match="wanted one of 3 options, found 6"):
        quiz_round.answer(5)
    assert quiz_round.current is not None
    with pytest.raises(UserError, match="no questions here"):
        quiz.QuizRound([], progress=Progress(tmp_path))


def test_a_third_of_all_questions_comes_from_the_learners_runs(tmp_path):
    made_runs.write_runs(tmp_path)
    course = Course()
    questions = quiz.collect_questions(course, runs=tmp_path)
    own = [one for one in questions if one.key.startswith("runs/")]
    assert len(own) >= len(questions) / 3
    assert quiz.collect_questions(course, runs=tmp_path / "none") == course.questions
    assert quiz.collect_questions(course, runs=tmp_path / "none", number=4) == course.lesson(4).questions


def test_a_third_comes_from_one_run_alone(tmp_path):
    made_runs.write_run(tmp_path)
    questions = quiz.collect_questions(Course(), runs=tmp_path)
    own = [one for one in questions if one.key.startswith("runs/")]
    assert len(own) >= 17
    assert len(own) >= len(questions) / 3


def test_a_lessons_questions_hold_those_about_own_runs_that_belong_to_it(tmp_path):
    made_runs.write_runs(tmp_path)
    course = Course()
    fourth = quiz.collect_questions(course, runs=tmp_path, number=4)
    assert fourth[: len(course.lesson(4).questions)] == course.lesson(4).questions
    assert [one.id for one in fourth[len(course.lesson(4).questions) :]] == ["trained-share", "file-size"]


def test_a_lesson_asks_about_runs_of_its_methods(tmp_path):
    made_runs.write_runs(tmp_path)
    course = Course()
    for lesson in course.lessons:
        own = [one for one in quiz.collect_questions(course, runs=tmp_path, number=lesson.number) if one.key.startswith("runs/")]
        about = {name.split("-")[0] for one in own for name in one.key.split("/")[2].split("+")}
        assert about <= set(lesson.about.methods or about), lesson.number
        assert {one.id for one in own} == set(lesson.about.own), lesson.number


def test_every_kind_belongs_to_a_lesson_and_every_name_is_a_kind(tmp_path):
    made_runs.write_runs(tmp_path)
    course = Course()
    made_kinds = {one.id for one in quiz.collect_questions(course, runs=tmp_path) if one.key.startswith("runs/")}
    assert made_kinds == {kind for lesson in course.lessons for kind in lesson.about.own}
