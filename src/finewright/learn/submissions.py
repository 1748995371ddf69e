"""Results that learners hand in and teachers collect: one JSON file per learner."""

import datetime
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finewright import __version__
from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.learn.course import Course, Lesson
from finewright.learn.progress import ExerciseOutcome, State
from finewright.learn.workspace import Workspace, copy_shared_files, grade_file

FORMAT = "finewright-learn-results"
LARGEST_FILE_BYTES = 10 << 20
LARGEST_SOURCE_CHARS = 200_000


class LessonResult(ExerciseOutcome):
    """A lesson that was handed in. `source`: the learner's file, empty if there is none."""

    number: int
    name: str = Field(max_length=200)
    source: str = Field("", max_length=LARGEST_SOURCE_CHARS)


class Submission(BaseModel):
    """Everything that a learner hands in. `questions_known`: questions in the third box or above."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: str
    learner: str = Field(min_length=1, max_length=200)
    course: str = Field(max_length=200)
    finewright: str = ""
    lessons: list[LessonResult] = Field(max_length=1000)
    questions_seen: int = Field(0, ge=0)
    questions_known: int = Field(0, ge=0)
    answers_right: int = Field(0, ge=0)
    answers_wrong: int = Field(0, ge=0)


def create_submission(workspace: Workspace, state: State, *, learner: str) -> Submission:
    """Return the learner's results."""
    if not learner.strip():
        raise UserError("wanted a name", where="--name", fix="the name that the teacher knows you by")
    lines = []
    for lesson in workspace.course.lessons:
        outcome = state.lesson(lesson.key).outcome()
        lines.append(LessonResult(number=lesson.number, name=lesson.name, source=_source(workspace, lesson), **outcome))
    counts = workspace.summary(state, today=datetime.date.today())
    return Submission(
        format=FORMAT,
        learner=learner.strip(),
        course=workspace.course.name,
        finewright=__version__,
        lessons=lines,
        questions_seen=counts["questions_seen"],
        questions_known=counts["questions_known"],
        answers_right=counts["answers_right"],
        answers_wrong=counts["answers"] - counts["answers_right"],
    )


def _source(workspace: Workspace, lesson: Lesson) -> str:
    try:
        return workspace.file(lesson).read_text(encoding="utf-8")[:LARGEST_SOURCE_CHARS]
    except (OSError, UnicodeDecodeError):
        return ""


def default_path(workspace: Workspace, learner: str) -> Path:
    """Return `learn/results-NAME.json`."""
    return workspace.root / f"results-{re.sub(r'[^A-Za-z0-9]+', '-', learner).strip('-')[:60] or 'learner'}.json"


def write_submission(results: Submission, path: Path) -> Path:
    """Write one JSON file. Raise `UserError` if it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.new_file(path) as descriptor:
            text = json.dumps(results.model_dump(), indent=1, ensure_ascii=False) + "\n"
            files.write(descriptor, text.encode("utf-8", "backslashreplace"))
    except FileExistsError:
        raise UserError("the file exists already", where=str(path), fix="--out with another name, or move it away") from None
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(path), fix="--out elsewhere") from None
    return path


def read_submissions(places: Sequence[Path]) -> tuple[list[Submission], list[Path]]:
    """Read results from files and folders; return them by learner, and the files of another format found in folders.

    Raise `UserError` if a file cannot be read or a file named directly holds no results.
    """
    found, others = [], []
    for place in places:
        for path in sorted(place.glob("*.json")) if place.is_dir() else [place]:
            read = _read(path)
            if place.is_dir() and not (isinstance(read, dict) and read.get("format") == FORMAT):
                others.append(path)
            else:
                found.append(_parse(path, read))
    if not found:
        raise UserError("no results here", where=", ".join(map(str, places)), fix="files made by finewright learn export")
    return sorted(found, key=lambda one: (one.course, one.learner.casefold())), others


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ValueError(f"larger than {LARGEST_FILE_BYTES >> 20} MB")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_results(path, str(error)) from None


def _parse(path: Path, read: Any) -> Submission:
    try:
        results = Submission.model_validate(read)
    except ValidationError as error:
        fault = error.errors()[0]
        raise _no_results(path, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    if results.format != FORMAT:
        raise _no_results(path, f"format is {results.format!r}")
    return results


def _no_results(path: Path, why: str) -> UserError:
    return UserError(f"not a learner's results: {why}", where=str(path), fix="leave it out", code=ExitCode.BAD_DATA)


def recheck(collected: Sequence[Submission], course: Course) -> list[dict[int, bool] | None]:
    """Grade the exercises of each learner here, which runs their code; return which passed.

    None for results of another course, whose lessons may have the same names.
    """
    return [_grade_submission(results, course) if results.course == course.name else None for results in collected]


def _grade_submission(results: Submission, course: Course) -> dict[int, bool]:
    passed: dict[int, bool] = {}
    with tempfile.TemporaryDirectory(prefix="finewright-collect-") as place:
        copy_shared_files(course, Path(place))
        for handed_in in results.lessons:
            lesson = next((one for one in course.lessons if one.name == handed_in.name and one.has_exercise), None)
            if lesson is None or not handed_in.source:
                continue
            file = Path(place) / f"{lesson.name}.py"
            file.write_text(handed_in.source, encoding="utf-8")
            passed[lesson.number] = grade_file(file, lesson).passed
    return passed


def summarize(results: Submission, passed_here: dict[int, bool] | None = None) -> dict[str, Any]:
    """Return one learner's row of a table, JSON-ready."""
    asked = results.answers_right + results.answers_wrong
    return {
        "learner": results.learner,
        "course": results.course,
        "passed": [lesson.number for lesson in results.lessons if lesson.passed],
        "gave_up": [lesson.number for lesson in results.lessons if lesson.gave_up],
        "attempts": sum(lesson.attempts for lesson in results.lessons),
        "lessons": len(results.lessons),
        "answers_right": results.answers_right,
        "answers": asked,
        "questions_known": results.questions_known,
        "passed_here": None if passed_here is None else sorted(number for number, ok in passed_here.items() if ok),
    }
