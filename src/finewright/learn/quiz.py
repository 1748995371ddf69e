"""The quiz: which questions to ask today, one round of them, and Leitner boxes for repetition."""

import datetime
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright.core.errors import UserError
from finewright.learn import run_history
from finewright.learn.course import Course, Option, Question
from finewright.learn.progress import NUM_BOXES, Progress, QuestionEntry, State
from finewright.learn.questions import about_runs
from finewright.learn.workspace import Workspace

DAYS_UNTIL_DUE = (0, 1, 3, 7, 21)
"""By box: a missed question is due at once, one in the fifth box after three weeks."""
OWN_EVERY = 3
"""Every third new question is about the learner's own runs, if there are any."""
USUAL_COUNT = 12


def collect_questions(course: Course, *, runs: Path, number: int | None = None) -> list[Question]:
    """Return the written questions and those about the learner's runs; with `number`, only those of that lesson."""
    lesson = course.lesson(number) if number is not None else None
    candidates = lesson.about.methods if lesson else ()
    own = about_runs.build_questions(run_history.choose_comparable(run_history.find_runs(runs), candidates=candidates))
    if lesson is None:
        return [*course.questions, *own]
    return [*lesson.questions, *(one for one in own if one.id in lesson.about.own)]


def choose_questions(
    questions: Sequence[Question], state: State, *, count: int, today: datetime.date, seed: int = 0
) -> list[Question]:
    """Return the questions of a round: due ones by box, then new ones, then the rest."""
    entries = {question.key: state.questions.get(question.key) for question in questions}
    shuffled = list(questions)
    random.Random(f"{today}{seed}").shuffle(shuffled)
    new = _mixed([one for one in shuffled if entries[one.key] is None])
    seen = [(entry, one) for one in shuffled if (entry := entries[one.key])]
    due = [(entry, one) for entry, one in seen if entry.due <= today.isoformat()]
    later = [(entry, one) for entry, one in seen if entry.due > today.isoformat()]
    due.sort(key=lambda pair: pair[0].box)
    later.sort(key=lambda pair: (pair[0].box, pair[0].due))
    return [*(one for _, one in due), *new, *(one for _, one in later)][:count]


def _mixed(questions: Sequence[Question]) -> list[Question]:
    own = [one for one in questions if one.key.startswith("runs/")]
    written = [one for one in questions if not one.key.startswith("runs/")]
    mixed: list[Question] = []
    while own or written:
        source = own if own and (not written or len(mixed) % OWN_EVERY == OWN_EVERY - 1) else written
        mixed.append(source.pop(0))
    return mixed


def record_answer(entry: QuestionEntry, *, right: bool, today: datetime.date) -> None:
    """Move a question up one box for a right answer, back to the first for a wrong one."""
    entry.box = min(entry.box + 1, NUM_BOXES) if right else 1
    entry.due = (today + datetime.timedelta(days=DAYS_UNTIL_DUE[entry.box - 1])).isoformat()
    entry.right += right
    entry.wrong += not right


def start_round(workspace: Workspace, *, number: int | None = None, count: int | None = None, seed: int = 0) -> "QuizRound":
    """Return a round of today's questions. `number`: only of that lesson, then all of them unless `count` is given."""
    questions = collect_questions(workspace.course, runs=workspace.runs, number=number)
    wanted = count or (USUAL_COUNT if number is None else len(questions))
    state, today = workspace.progress.read(), datetime.date.today()
    chosen = choose_questions(questions, state, count=wanted, today=today, seed=seed)
    return QuizRound(chosen, progress=workspace.progress, seed=seed)


@dataclass(frozen=True)
class AnsweredQuestion:
    """An answer. `again`: the question was repeated in this round, which does not count."""

    question: Question
    options: list[Option]
    chosen: int
    again: bool

    @property
    def ok(self) -> bool:
        """Return whether the right option was chosen."""
        return self.options[self.chosen].ok

    @property
    def right(self) -> int:
        """Return the index of the right option."""
        return next(place for place, option in enumerate(self.options) if option.ok)


class QuizRound:
    """Asks questions one by one, saves each answer at once, and repeats missed questions at the end."""

    def __init__(self, questions: Sequence[Question], *, progress: Progress, seed: int = 0) -> None:
        if not questions:
            raise UserError("no questions here", fix="finewright learn questions lists all of them")
        self._progress = progress
        self._seed = seed
        self._waiting = list(questions)
        self._missed: list[Question] = []
        self.num_first = len(questions)
        self.answers: list[AnsweredQuestion] = []

    @property
    def current(self) -> Question | None:
        """Return the question to answer; None when the round is over."""
        return self._waiting[0] if self._waiting else None

    @property
    def number(self) -> int:
        """Return the number of the current question, from 1, repetitions included."""
        return len(self.answers) + 1

    @property
    def again(self) -> bool:
        """Return whether the current question is a repetition."""
        return len(self.answers) >= self.num_first

    def options(self) -> list[Option]:
        """Return the current question's options in a fixed random order."""
        assert self.current is not None
        shuffled = list(self.current.options)
        random.Random(f"{self._seed}{self.current.key}{self.again}").shuffle(shuffled)
        return shuffled

    def answer(self, chosen: int, *, today: datetime.date | None = None) -> AnsweredQuestion:
        """Check the answer, save it and go to the next question."""
        question = self.current
        assert question is not None
        options = self.options()
        if not 0 <= chosen < len(options):
            raise UserError(f"wanted one of {len(options)} options, found {chosen + 1}", fix="one of the letters shown")
        answered = AnsweredQuestion(question, options, chosen, self.again)
        if not answered.again:
            with self._progress.change() as state:
                record_answer(state.question(question.key), right=answered.ok, today=today or datetime.date.today())
            if not answered.ok:
                self._missed.append(question)
        self._waiting.pop(0)
        self.answers.append(answered)
        if not self._waiting and len(self.answers) == self.num_first:
            self._waiting = self._missed
        return answered

    @property
    def score(self) -> tuple[int, int]:
        """Return (right at the first try, asked so far)."""
        first = [answered for answered in self.answers if not answered.again]
        return sum(answered.ok for answered in first), len(first)

    def as_json(self) -> dict[str, Any]:
        """Return the round, JSON-ready."""
        right, asked = self.score
        lines = [
            {"key": one.question.key, "question": one.question.question, "chosen": one.options[one.chosen].text, "ok": one.ok}
            for one in self.answers
            if not one.again
        ]
        return {"right": right, "asked": asked, "of": self.num_first, "answers": lines}
