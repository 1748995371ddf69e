"""The knowledge check: which questions to ask today, one round of them, and Leitner's boxes for what was missed."""

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

DAYS_UNTIL_DUE = (0, 1, 3, 7, 21)
"""By box, from the first: what was missed is asked again at once, what was known five times in three weeks."""
OWN_EVERY = 3
"""Of what is new, every third question is about the learner's own runs, as far as there are any."""
USUAL_COUNT = 12


def pool(course: Course, *, runs: Path, number: int | None = None) -> list[Question]:
    """Every question there is, the written ones and those made from the learner's runs; of one lesson those that belong to it,
    about runs of its ways."""
    lesson = course.lesson(number) if number is not None else None
    candidates = lesson.about.methods if lesson else ()
    own = about_runs.make(run_history.together(run_history.find(runs), candidates=candidates))
    if lesson is None:
        return [*course.questions, *own]
    return [*lesson.questions, *(one for one in own if one.id in lesson.about.own)]


def choose(questions: Sequence[Question], state: State, *, count: int, today: datetime.date, seed: int = 0) -> list[Question]:
    """The questions of a round: what is due, lowest box first, then new ones, own runs among them, then the rest."""
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


def remember(entry: QuestionEntry, *, right: bool, today: datetime.date) -> None:
    """One box up for a right answer, back to the first for a wrong one."""
    entry.box = min(entry.box + 1, NUM_BOXES) if right else 1
    entry.due = (today + datetime.timedelta(days=DAYS_UNTIL_DUE[entry.box - 1])).isoformat()
    entry.right += right
    entry.wrong += not right


@dataclass(frozen=True)
class Answered:
    """What an answer was worth. `again`: it was asked a second time in this round, which does not count."""

    question: Question
    options: list[Option]
    chosen: int
    again: bool

    @property
    def ok(self) -> bool:
        """Whether the right option was chosen."""
        return self.options[self.chosen].ok

    @property
    def right(self) -> int:
        """Place of the right option."""
        return next(place for place, option in enumerate(self.options) if option.ok)


class Round:
    """Questions one after another; each answer is kept at once, and what was missed comes once more at the end."""

    def __init__(self, questions: Sequence[Question], *, progress: Progress, seed: int = 0) -> None:
        if not questions:
            raise UserError("no questions here", fix="finewright learn questions lists all of them")
        self._progress = progress
        self._seed = seed
        self._waiting = list(questions)
        self._missed: list[Question] = []
        self.num_first = len(questions)
        self.answers: list[Answered] = []

    @property
    def current(self) -> Question | None:
        """The question that waits for an answer; None when the round is over."""
        return self._waiting[0] if self._waiting else None

    @property
    def number(self) -> int:
        """Place of the current question, from 1; what is asked again counts on."""
        return len(self.answers) + 1

    @property
    def again(self) -> bool:
        """Whether the current question was missed before in this round."""
        return len(self.answers) >= self.num_first

    def options(self) -> list[Option]:
        """The current question's options, shuffled the same way each time they are looked at."""
        assert self.current is not None
        shuffled = list(self.current.options)
        random.Random(f"{self._seed}{self.current.key}{self.again}").shuffle(shuffled)
        return shuffled

    def answer(self, chosen: int, *, today: datetime.date | None = None) -> Answered:
        """Judge, remember, go on."""
        question = self.current
        assert question is not None
        options = self.options()
        if not 0 <= chosen < len(options):
            raise UserError(f"wanted one of {len(options)} options, found {chosen + 1}", fix="a letter that stands there")
        answered = Answered(question, options, chosen, self.again)
        if not answered.again:
            with self._progress.change() as state:
                remember(state.question(question.key), right=answered.ok, today=today or datetime.date.today())
            if not answered.ok:
                self._missed.append(question)
        self._waiting.pop(0)
        self.answers.append(answered)
        if not self._waiting and len(self.answers) == self.num_first:
            self._waiting = self._missed
        return answered

    @property
    def score(self) -> tuple[int, int]:
        """(right at the first try, asked so far)."""
        first = [answered for answered in self.answers if not answered.again]
        return sum(answered.ok for answered in first), len(first)

    def as_json(self) -> dict[str, Any]:
        """The round by name, JSON-ready."""
        right, asked = self.score
        lines = [
            {"key": one.question.key, "question": one.question.question, "chosen": one.options[one.chosen].text, "ok": one.ok}
            for one in self.answers
            if not one.again
        ]
        return {"right": right, "asked": asked, "of": self.num_first, "answers": lines}
