"""A learner's workspace: start an exercise, check it, get a hint, see the solution, see results of own runs."""

import datetime
import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright.core.errors import UserError
from finewright.learn import run_figures, run_history
from finewright.learn.course import TICKETS, Course, Lesson, SuggestedCommand
from finewright.learn.grading import grader
from finewright.learn.grading.grader import GradeResult
from finewright.learn.progress import LessonEntry, Progress, State, set_aside
from finewright.learn.run_history import FinishedRun, Table

WORK = Path("learn")
KNOWN_FROM_BOX = 3
"""From this box on a question counts as known."""
YOURS_MARK = "[[yours]]"


@dataclass(frozen=True)
class Hint:
    """One hint, `number` of `of`. `says`: the known mistake that the last check recognised, if any."""

    text: str
    number: int
    of: int
    says: str = ""


@dataclass(frozen=True)
class OwnResults:
    """What a lesson shows of the learner's own runs. `saved`: the table of the exercise; `commands`: their runs are missing."""

    runs: list[FinishedRun]
    table: Table | None
    saved: Table | None
    commands: list[SuggestedCommand]


class Workspace:
    """A course, a folder for exercises and progress, and a folder with runs.

    `trust`: allow the checks of a course that is not Finewright's own; they are code.
    """

    def __init__(self, *, course: Path | None = None, work: Path = WORK, runs: Path = Path("runs"), trust: bool = False) -> None:
        self.course = Course(course) if course else Course()
        self.root = work
        self.work = work if self.course.embedded else work / self.course.name
        self.runs = runs
        self.trust = trust
        self.progress = Progress(work)
        self._drawing = threading.Lock()
        self._drawn: dict[Path, Any] = {}

    def file(self, lesson: Lesson) -> Path:
        """Return the path of the learner's file."""
        return self.work / f"{lesson.name}.py"

    def overview(self, state: State) -> list[dict[str, Any]]:
        """Return every lesson with its progress, JSON-ready."""
        lines = []
        for lesson in self.course.lessons:
            entry = state.lessons.get(lesson.key, LessonEntry())
            lines.append(
                {
                    "number": lesson.number,
                    "name": lesson.name,
                    "title": lesson.about.title,
                    "summary": lesson.about.summary,
                    "minutes": lesson.about.minutes,
                    "state": self._state(lesson, entry),
                    "file": str(self.file(lesson)) if lesson.has_exercise else None,
                    "questions": len(lesson.questions),
                    **entry.outcome(),
                }
            )
        return lines

    def _state(self, lesson: Lesson, entry: LessonEntry) -> str:
        if not lesson.has_exercise:
            return "to read"
        if entry.passed:
            return "passed"
        if entry.attempts:
            return "not yet"
        return "started" if self.file(lesson).exists() else "new"

    def summary(self, state: State, *, today: datetime.date) -> dict[str, int]:
        """Return counts of exercises and questions of this course."""
        exercises = [lesson for lesson in self.course.lessons if lesson.has_exercise]
        prefixes = (f"{self.course.name}/", "runs/")  # also questions about the learner's own runs
        mine = [entry for key, entry in state.questions.items() if key.startswith(prefixes)]
        return {
            "exercises": len(exercises),
            "exercises_passed": sum(bool(state.lesson(lesson.key).passed) for lesson in exercises),
            "questions_seen": len(mine),
            "questions_known": sum(entry.box >= KNOWN_FROM_BOX for entry in mine),
            "questions_due": sum(entry.due <= today.isoformat() for entry in mine),
            "answers_right": sum(entry.right for entry in mine),
            "answers": sum(entry.right + entry.wrong for entry in mine),
        }

    def next_lesson(self, state: State) -> Lesson | None:
        """Return the first lesson whose exercise is not passed."""
        open_ones = (one for one in self.course.lessons if one.has_exercise and not state.lesson(one.key).passed)
        return next(open_ones, None)

    def start(self, lesson: Lesson, *, again: bool = False) -> list[Path]:
        """Copy the exercise and the files it needs into the work folder. Existing files are never overwritten."""
        self._check_has_exercise(lesson)
        target, written = self.file(lesson), []
        if target.exists() and not again:
            fix = f"continue with it; or finewright learn start {lesson.number} --again, which renames the old file"
            raise UserError("your exercise is there already", where=str(target), fix=fix)
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            if target.exists():
                written.append(set_aside(target, "before"))
            shutil.copyfile(lesson.exercise, target)
            written.append(target)
            written += copy_shared_files(self.course, self.work)
        except OSError as error:
            raise UserError(f"cannot write here: {error.strerror}", where=str(self.work), fix="go to another folder") from None
        with self.progress.change() as state:
            entry = state.lesson(lesson.key)
            entry.started = entry.started or _now()
            entry.wrong, entry.hints = "", 0
        return written

    def check(self, lesson: Lesson) -> GradeResult:
        """Grade the learner's file and save the result."""
        self._check_has_exercise(lesson)
        file = self.file(lesson)
        if not file.is_file():
            raise UserError("no exercise of yours here", where=str(file), fix=f"finewright learn start {lesson.number}")
        self.check_trust(lesson)
        grade = grade_file(file, lesson)
        with self.progress.change() as state:
            entry = state.lesson(lesson.key)
            entry.attempts += 1
            held = sum(claim.ok for claim in grade.claims)
            if grade.passed or (not entry.passed and held >= entry.claims_held):  # a check that broke off takes nothing away
                entry.claims, entry.claims_held = len(grade.claims), held
            if grade.wrong != entry.wrong:
                entry.wrong, entry.hints = grade.wrong, 0
            if grade.passed and not entry.passed:
                entry.passed = _now()
        return grade

    def check_trust(self, lesson: Lesson) -> None:
        """Raise `UserError` if the course is not Finewright's own and the learner has not given --trust."""
        if not self.course.embedded and not self.trust:
            what = f"a check of the course {self.course.name} is code that would run on this machine, as you"
            raise UserError(what, where=str(lesson.check), fix="read it first; then add --trust")

    def says(self, lesson: Lesson, wrong: str) -> str:
        """Return the explanation of a known mistake; empty if there is none."""
        return lesson.hints.wrong[wrong].says if wrong in lesson.hints.wrong else ""

    def hint(self, lesson: Lesson) -> Hint:
        """Return the next hint: first about the mistake that the last check recognised, then in general."""
        with self.progress.change() as state:
            entry = state.lesson(lesson.key)
            known = lesson.hints.wrong.get(entry.wrong)
            steps = [*(known.steps if known else []), *lesson.hints.steps]
            entry.hints = min(entry.hints + 1, len(steps))
            return Hint(steps[entry.hints - 1], entry.hints, len(steps), known.says if known else "")

    def solution(self, lesson: Lesson, *, give_up: bool) -> str:
        """Return the reference solution, once the exercise has passed or the learner gives up."""
        self._check_has_exercise(lesson)
        with self.progress.change() as state:
            entry = state.lesson(lesson.key)
            if not entry.passed and not give_up:
                fix = f"finewright learn hint {lesson.number}; or --give-up to see it anyway"
                raise UserError("the solution is shown once your exercise has passed", fix=fix)
            entry.gave_up = entry.gave_up or not entry.passed
        try:
            return lesson.solution.read_text(encoding="utf-8")
        except OSError:
            raise UserError(
                "the course has no solution for this lesson", where=str(lesson.solution), fix="ask the author of the course"
            ) from None

    def own_results(self, lesson: Lesson) -> OwnResults:
        """Return the results of the learner's own runs for a lesson, as far as there are any."""
        about = lesson.about
        everything = run_history.find_runs(self.runs)
        found = run_history.choose_comparable(everything, candidates=about.methods) if about.figure != "none" else []
        table = run_history.build_table(about.figure, found) if found else None
        commands = self._add_start(lesson, run_history.missing_commands(lesson, found, everything))
        return OwnResults(found, table, self._read_saved_table(lesson), commands)

    def _add_start(self, lesson: Lesson, commands: list[SuggestedCommand]) -> list[SuggestedCommand]:
        """Put `learn start` before commands that read the tickets, if these are not there yet."""
        reads = any(str(WORK / "tickets") in make.command for make in commands)
        if not reads or (self.root / "tickets").is_dir() or self.file(lesson).exists():
            return commands
        start = SuggestedCommand(command=f"finewright learn start {lesson.number}", note="first: it brings the messages")
        return [start, *commands]

    def _read_saved_table(self, lesson: Lesson) -> Table | None:
        """Return the table that the learner's script wrote beside the exercise, if there is a valid one."""
        try:
            read = json.loads(self.file(lesson).with_suffix(".json").read_text(encoding="utf-8"))
            saved = Table.model_validate({**read, "says": read["title"]})
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        fitting = [row for row in saved.rows if len(row) == len(saved.headings)][:200]
        return saved.model_copy(update={"rows": fitting}) if fitting else None

    def picture(self, lesson: Lesson, own: OwnResults, *, dark: bool = False) -> Path | None:
        """Return the path of a plot of the learner's runs, redrawn if they changed; None without runs."""
        if not own.runs:
            return None
        path = self.root / "pictures" / f"{self.course.name}-{lesson.name}{'-dark' if dark else ''}.png"
        made_of = [(one.folder.path, one.folder.result.stat().st_mtime_ns) for one in own.runs]
        with self._drawing:
            if self._drawn.get(path) != made_of or not path.exists():
                run_figures.draw_figure(lesson.about.figure, own.runs, path, dark=dark)
                self._drawn[path] = made_of
        return path

    def _check_has_exercise(self, lesson: Lesson) -> None:
        if not lesson.has_exercise:
            raise UserError(f"lesson {lesson.number} has no exercise", fix=f"finewright learn show {lesson.number}")


def grade_file(file: Path, lesson: Lesson) -> GradeResult:
    """Grade a file with the check and the limits of a lesson. This runs the file."""
    [grade] = grader.grade([grader.Attempt(file, lesson.check)], seconds=lesson.about.seconds, memory_mb=lesson.about.memory_mb)
    return grade


def copy_shared_files(course: Course, folder: Path) -> list[Path]:
    """Copy files that the exercises share, and the tickets, unless they exist; return the new files."""
    copied = []
    shared = [(path, folder / path.name) for path in sorted(course.folder.glob("*.py"))]
    if course.embedded:
        shared += [(path, folder / "tickets" / path.name) for path in sorted(TICKETS.glob("*.csv"))]
    for source, target in shared:
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
            copied.append(target)
    return copied


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
