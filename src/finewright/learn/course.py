"""A course on disk: lessons found by their folder, each with text, exercise, check, hints and questions."""

import re
import tomllib
from collections.abc import Sequence
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
    """Something written in a lesson's TOML files. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Option(_Part):
    """One answer of a question; `why` explains it, right or wrong."""

    text: str = Field(min_length=1)
    ok: bool = False
    why: str = Field(min_length=1)


class Question(_Part):
    """A question with exactly one right option. `key`: unique in all courses, made from where the question stands."""

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
        """The option that is right."""
        return next(option for option in self.options if option.ok)

    def as_json(self) -> dict[str, Any]:
        """By name, JSON-ready."""
        return self.model_dump()


class Wrong(_Part):
    """A known wrong answer: what is wrong, and hints in steps."""

    says: str = Field(min_length=1)
    steps: list[str] = Field(min_length=1)


class Make(_Part):
    """A command that gives the lesson numbers of the learner's own, and how its traces are known.

    `method`, `options`: as in a run's config.json; `leaves`: how the folder begins that
    holds its runs. With neither, the command leaves nothing and is always shown.
    """

    command: str = Field(min_length=1)
    method: str = ""
    options: dict[str, int | float | str | bool] = {}
    leaves: str = ""
    note: str = ""


class About(_Part):
    """lesson.toml."""

    title: str = Field(min_length=1)
    summary: str = Field(min_length=1)
    minutes: int = Field(ge=1, le=600)
    figure: Figure = "none"
    methods: list[str] = []
    """Only runs of these ways belong to the lesson; empty: all."""
    make: list[Make] = []
    own: list[str] = []
    """Kinds of questions about the learner's own runs that belong to the lesson, by their id."""
    seconds: int = Field(120, ge=1, le=3600)
    """The longest that a check may take, imports included."""
    memory_mb: int = Field(4096, ge=64)


class Hints(_Part):
    """hints.toml. `steps`: for whoever is stuck; `wrong`: by the name of the file `wrong_<name>.py`."""

    steps: list[str] = Field(min_length=1)
    wrong: dict[str, Wrong] = {}


class _Questions(_Part):
    questions: list[Question] = []


class Lesson:
    """One folder `NN_name` of a course; its files are read when first asked for."""

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
    def about(self) -> About:
        """Title, minutes, what to make on one's own machine."""
        return _read_toml(self.folder / "lesson.toml", About)

    @cached_property
    def hints(self) -> Hints:
        """Hints in steps."""
        return _read_toml(self.folder / "hints.toml", Hints)

    @cached_property
    def questions(self) -> list[Question]:
        """The written questions, with their keys."""
        if not (self.folder / "questions.toml").exists():
            return []
        read = _read_toml(self.folder / "questions.toml", _Questions).questions
        return [one.model_copy(update={"key": f"{self.key}/{one.id}", "lesson": self.name}) for one in read]

    @property
    def text(self) -> str:
        """lesson.md: Markdown; the line `[[yours]]` is where the learner's own numbers go."""
        path = self.folder / "lesson.md"
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from None

    @property
    def pictures(self) -> dict[str, Path]:
        """Pictures that the lesson brings, by file name."""
        return {path.name: path for path in sorted(self.folder.iterdir()) if path.suffix in _PICTURES and path.is_file()}

    @property
    def has_exercise(self) -> bool:
        """A lesson may be text and questions only."""
        return self.exercise.is_file() and self.check.is_file()

    @property
    def wrong_answers(self) -> dict[str, Path]:
        """Files `wrong_<name>.py` by name: what the check must recognise."""
        return {path.stem.removeprefix("wrong_"): path for path in sorted(self.folder.glob("wrong_*.py"))}


class Course:
    """All lessons of a folder. `name`: what its progress is kept under. `embedded`: the one in the package."""

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
        """A lesson by its number; an unknown one is a `UserError`."""
        for lesson in self.lessons:
            if lesson.number == number:
                return lesson
        known = ", ".join(str(lesson.number) for lesson in self.lessons)
        raise UserError(f"no lesson {number}", fix=f"lessons here: {known}")

    @property
    def questions(self) -> list[Question]:
        """The written questions of all lessons."""
        return [question for lesson in self.lessons for question in lesson.questions]


def numbers(lessons: Sequence[Lesson]) -> list[int]:
    """Their numbers."""
    return [lesson.number for lesson in lessons]


def _read_toml(path: Path, kind: type[Any]) -> Any:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(path, error) from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise UserError("\n  ".join(faults), where=str(path), fix="mend these keys", code=ExitCode.BAD_DATA) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"not readable: {error}", where=str(path), fix="mend the lesson's file", code=ExitCode.BAD_DATA)
