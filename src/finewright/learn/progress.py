"""A learner's progress: one JSON file, written atomically and recovered when damaged."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finewright.core import files
from finewright.core.errors import ExitCode, UserError

FILE = "progress.json"
VERSION = 1
NUM_BOXES = 5
_ENTRY = re.compile(r'"((?:lesson|question) [^"\\\x00-\x1f]+)"\s*:\s*(?=\{)')


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class ExerciseOutcome(_Entry):
    """What became of an exercise. `passed`: when, ISO 8601 in UTC, empty for never; `claims`: of the best check."""

    attempts: int = Field(0, ge=0)
    passed: str = Field("", max_length=40)
    gave_up: bool = False
    claims_held: int = Field(0, ge=0)
    claims: int = Field(0, ge=0)

    def outcome(self) -> dict[str, Any]:
        """Return the fields of `ExerciseOutcome`, without those of a subclass."""
        return self.model_dump(include=set(ExerciseOutcome.model_fields))


class LessonEntry(ExerciseOutcome):
    """One lesson's exercise. `wrong`: the known mistake of the last check; `hints`: how many of its hints were shown."""

    started: str = ""
    hints: int = Field(0, ge=0)
    wrong: str = ""


class QuestionEntry(_Entry):
    """One question in a Leitner box, from 1 for a missed one up to 5. Dates are ISO 8601; `due`: when to ask again."""

    box: int = Field(1, ge=1, le=NUM_BOXES)
    due: str = ""
    right: int = Field(0, ge=0)
    wrong: int = Field(0, ge=0)


@dataclass
class State:
    """All entries by key."""

    lessons: dict[str, LessonEntry] = field(default_factory=dict)
    questions: dict[str, QuestionEntry] = field(default_factory=dict)

    def lesson(self, key: str) -> LessonEntry:
        """Return the entry of a lesson; create it if there is none."""
        return self.lessons.setdefault(key, LessonEntry())

    def question(self, key: str) -> QuestionEntry:
        """Return the entry of a question; create it if there is none."""
        return self.questions.setdefault(key, QuestionEntry())


class Progress:
    """The progress file of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._notes: list[str] = []

    def take_notes(self) -> list[str]:
        """Return warnings about the file, each of them once."""
        notes, self._notes = self._notes, []
        return notes

    def read(self) -> State:
        """Return the state. A damaged file is renamed and its readable entries are recovered; `take_notes` reports it."""
        if not self.path.exists():
            return State()
        with self._lock():
            return self._read()

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """Read the state, let the caller change it, write it. Holds a lock against other processes."""
        with _explaining_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            state = self._read()
            yield state
            self._write(state)

    def _read(self) -> State:
        try:
            text = self.path.read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise UserError(f"not readable: {error.strerror}", where=str(self.path), fix="correct its permissions") from None
        state, whole = _parse(text, where=str(self.path))
        if not whole:
            with _explaining_errors(self.folder):
                aside = set_aside(self.path, "damaged")
            num = len(state.lessons) + len(state.questions)
            self._notes.append(f"{self.path} was damaged: {num} entries were recovered, the old file is now {aside}")
            self._write(state)
        return state

    def _write(self, state: State) -> None:
        entries: dict[str, Any] = {f"lesson {key}": one.model_dump() for key, one in sorted(state.lessons.items())}
        entries |= {f"question {key}": one.model_dump() for key, one in sorted(state.questions.items())}
        files.write_atomic(self.path, json.dumps({"version": VERSION, "entries": entries}, indent=1, ensure_ascii=False) + "\n")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with _explaining_errors(self.folder):
            handle = open(self.folder / ".progress.lock", "a+", encoding="utf-8")  # noqa: SIM115  held below
        with handle:
            files.lock(handle.fileno(), wait=True)
            yield


def set_aside(path: Path, why: str) -> Path:
    """Rename a file to `NAME.WHY-N` before its suffix, with the lowest free number, and return the new path."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.{why}-{number}{path.suffix}")).exists():
        number += 1
    files.rename(path, aside)
    return aside


def _parse(text: str, *, where: str) -> tuple[State, bool]:
    """Return (the state, whether every part of the file was valid)."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return _recover(text), False
    if not isinstance(read, dict) or not isinstance(read.get("entries"), dict):
        return _recover(text), False
    version = read.get("version")
    if isinstance(version, int) and version > VERSION:
        what = f"written by a newer version: format {version}, this one reads {VERSION}"
        raise UserError(what, where=where, fix="upgrade finewright, or move the file away", code=ExitCode.MISMATCH)
    state = State()
    valid = [_add_entry(state, key, value) for key, value in read["entries"].items()]
    return state, all(valid)


def _recover(text: str) -> State:
    """Return every complete entry of a damaged file."""
    state, decoder = State(), json.JSONDecoder()
    for found in _ENTRY.finditer(text):
        with contextlib.suppress(ValueError, RecursionError):
            _add_entry(state, found[1], decoder.raw_decode(text, found.end())[0])
    return state


def _add_entry(state: State, key: str, value: Any) -> bool:
    """Add an entry to the state; return whether it is valid."""
    kind, _, name = key.partition(" ")
    try:
        if kind == "lesson":
            state.lessons[name] = LessonEntry.model_validate(value)
        elif kind == "question":
            state.questions[name] = QuestionEntry.model_validate(value)
        else:
            return False
    except ValidationError:
        return False
    return True


@contextlib.contextmanager
def _explaining_errors(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into a `UserError`."""
    try:
        yield
    except OSError as error:
        fix = "go to a folder that can be written, or correct its permissions"
        raise UserError(f"cannot write here: {error.strerror}", where=str(folder), fix=fix, code=ExitCode.DISK) from None
