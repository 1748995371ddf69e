"""A course on disk: one folder per lesson with text, exercise, check, hints and questions."""

import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from finewright.core import assets
from finewright.core.errors import ExitCode, UserError

EMBEDDED = assets.COURSE
EMBEDDED_NAME = "finewright"
TICKETS = assets.TICKETS
_FOLDER = re.compile(r"(\d\d)_([a-z][a-z0-9_]*)")
_COURSE_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_PICTURES = (".svg", ".png", ".jpg", ".jpeg")

Figure = Literal["none", "curves", "share", "memory", "intervals"]


class _Part(BaseModel):
    """Part of a lesson's TOML files. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Option(_Part):
    """One answer of a question; `why` explains it, right or wrong."""

    text: str = Field(min_length=1)
    ok: bool = False
    why: str = Field(min_length=1)


class Question(_Part):
    """A question with exactly one right option. `key`: unique across courses, from the place of the question."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    question: str = Field(min_length=1)
    options: list[Option] = Field(min_length=2, max_length=6)
    key: str = ""
    lesson: str = ""

    @model_validator(mode="after")
    def _one_right(self) -> Self:
        if sum(option.ok for option in self.options) != 1:
            raise ValueError("wanted exactly one option with ok = true")
        if len({option.text for option in self.options}) < len(self.options):
            raise ValueError("two options say the same")
        return self

    @property
    def right(self) -> Option:
        """Return the right option."""
        return next(option for option in self.options if option.ok)


class KnownMistake(_Part):
    """A known mistake: what is wrong (`says`), and hints in steps."""

    says: str = Field(min_length=1)
    steps: list[str] = Field(min_length=1)


class SuggestedCommand(_Part):
    """A command whose runs the lesson shows, and how its runs are recognised.

    `method`, `options`: as in a run's config.json; `leaves`: prefix of the folder that
    holds its runs. With neither, the command leaves no run and is always shown.
    """

    command: str = Field(min_length=1)
    method: str = ""
    options: dict[str, int | float | str | bool] = {}
    leaves: str = ""
    note: str = ""


class LessonInfo(_Part):
    """lesson.toml."""

    title: str = Field(min_length=1)
    summary: str = Field(min_length=1)
    minutes: int = Field(ge=1, le=600)
    figure: Figure = "none"
    methods: list[str] = []
    """Only runs of these methods belong to the lesson; empty: all."""
    make: list[SuggestedCommand] = []
    own: list[str] = []
    """Ids of questions about the learner's own runs that belong to the lesson."""
    seconds: int = Field(120, ge=1, le=3600)
    """Time limit of a check, imports included."""
    memory_mb: int = Field(4096, ge=64)


class Hints(_Part):
    """hints.toml. `steps`: general hints; `wrong`: known mistakes by the name of the file `wrong_<name>.py`."""

    steps: list[str] = Field(min_length=1)
    wrong: dict[str, KnownMistake] = {}


class _Questions(_Part):
    questions: list[Question] = []


class Lesson:
    """One folder `NN_name` of a course; its files are read on first use."""

    def __init__(self, folder: Path, *, course: str) -> None:
        self.folder = folder
        self.course = course
        self.name = folder.name
        self.number = int(folder.name[:2])
        self.key = f"{course}/{folder.name}"
        self.exercise = folder / "exercise.py"
        self.check = folder / "check.py"
        self.solution = folder / "solution.py"

    @cached_property
    def about(self) -> LessonInfo:
        """Return the content of lesson.toml."""
        return _read_toml(self.folder / "lesson.toml", LessonInfo)

    @cached_property
    def hints(self) -> Hints:
        """Return the content of hints.toml."""
        return _read_toml(self.folder / "hints.toml", Hints)

    @cached_property
    def questions(self) -> list[Question]:
        """Return the questions of questions.toml, with their keys."""
        if not (self.folder / "questions.toml").exists():
            return []
        read = _read_toml(self.folder / "questions.toml", _Questions).questions
        return [one.model_copy(update={"key": f"{self.key}/{one.id}", "lesson": self.name}) for one in read]

    @property
    def text(self) -> str:
        """Return lesson.md: Markdown; the line `[[yours]]` is replaced by results of the learner's own runs."""
        path = self.folder / "lesson.md"
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from None

    @property
    def pictures(self) -> dict[str, Path]:
        """Return the lesson's pictures by file name."""
        return {path.name: path for path in sorted(self.folder.iterdir()) if path.suffix in _PICTURES and path.is_file()}

    @property
    def has_exercise(self) -> bool:
        """Return whether there is an exercise; a lesson may be text and questions only."""
        return self.exercise.is_file() and self.check.is_file()


class Course:
    """All lessons of a folder. `name`: key of its progress. `embedded`: it is the course in the package."""

    def __init__(self, folder: Path = EMBEDDED) -> None:
        self.folder = folder
        self.embedded = folder.resolve() == EMBEDDED.resolve()
        self.name = EMBEDDED_NAME if self.embedded else _COURSE_NAME.sub("-", folder.resolve().name) or "course"
        if not self.embedded and self.name == EMBEDDED_NAME:
            self.name = f"{EMBEDDED_NAME}-folder"
        if not folder.is_dir():
            raise UserError("no such course folder", where=str(folder), fix="a folder that holds lessons named 01_name, 02_name")
        found = [path for path in sorted(folder.iterdir()) if path.is_dir() and _FOLDER.fullmatch(path.name)]
        self.lessons = [Lesson(path, course=self.name) for path in found]
        if not self.lessons:
            raise UserError("no lessons here", where=str(folder), fix="lessons are folders named 01_name, 02_name")
        twice = {one.number for one in self.lessons if [two.number for two in self.lessons].count(one.number) > 1}
        if twice:
            raise UserError(f"two lessons are number {min(twice)}", where=str(folder), fix="rename one of the folders")

    def lesson(self, number: int) -> Lesson:
        """Return a lesson by its number. Raise `UserError` if there is none."""
        for lesson in self.lessons:
            if lesson.number == number:
                return lesson
        known = ", ".join(str(lesson.number) for lesson in self.lessons)
        raise UserError(f"no lesson {number}", fix=f"lessons here: {known}")

    @property
    def questions(self) -> list[Question]:
        """Return the written questions of all lessons."""
        return [question for lesson in self.lessons for question in lesson.questions]


def _read_toml(path: Path, kind: type[Any]) -> Any:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(path, error) from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise UserError("\n  ".join(faults), where=str(path), fix="correct these keys", code=ExitCode.BAD_DATA) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"not readable: {error}", where=str(path), fix="correct the lesson's file", code=ExitCode.BAD_DATA)
