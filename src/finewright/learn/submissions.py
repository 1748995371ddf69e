"""What a learner hands in and a teacher collects: results in one JSON file a learner."""

import datetime
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finewright import __version__
from finewright.core.errors import ExitCode, UserError
from finewright.learn.course import Course, Lesson
from finewright.learn.grading import grader
from finewright.learn.progress import State
from finewright.learn.workspace import Workspace, bring_along

FORMAT = "finewright-learn-results"
LARGEST_FILE_BYTES = 10 << 20
LARGEST_SOURCE_CHARS = 200_000


class LessonResult(BaseModel):
    """One lesson as it was handed in. `source`: the learner's file, empty when there is none."""

    model_config = ConfigDict(strict=True, extra="ignore")

    number: int
    name: str = Field(max_length=200)
    passed: str = Field("", max_length=40)
    attempts: int = Field(0, ge=0)
    gave_up: bool = False
    claims_held: int = Field(0, ge=0)
    claims: int = Field(0, ge=0)
    source: str = Field("", max_length=LARGEST_SOURCE_CHARS)


class Submission(BaseModel):
    """Everything that one learner hands in. `known`: questions in the third box or above."""

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


def create_submission(desk: Workspace, state: State, *, learner: str) -> Submission:
    """What the learner at this desk has to show."""
    if not learner.strip():
        raise UserError("wanted a name", where="--name", fix="the name that the teacher knows you by")
    lines = []
    for lesson in desk.course.lessons:
        entry = state.lesson(lesson.key)
        facts = entry.model_dump(include={"passed", "attempts", "gave_up", "claims_held", "claims"})
        lines.append(LessonResult(number=lesson.number, name=lesson.name, source=_source(desk, lesson), **facts))
    counts = desk.summary(state, today=datetime.date.today())
    return Submission(
        format=FORMAT,
        learner=learner.strip(),
        course=desk.course.name,
        finewright=__version__,
        lessons=lines,
        questions_seen=counts["questions_seen"],
        questions_known=counts["questions_known"],
        answers_right=counts["answers_right"],
        answers_wrong=counts["answers"] - counts["answers_right"],
    )


def _source(desk: Workspace, lesson: Lesson) -> str:
    try:
        return desk.file(lesson).read_text(encoding="utf-8")[:LARGEST_SOURCE_CHARS]
    except (OSError, UnicodeDecodeError):
        return ""


def usual_path(desk: Workspace, learner: str) -> Path:
    """`learn/results-NAME.json`."""
    return desk.root / f"results-{re.sub(r'[^A-Za-z0-9]+', '-', learner).strip('-')[:60] or 'learner'}.json"


def write(results: Submission, path: Path) -> Path:
    """One JSON file; one that is there is not overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            json.dump(results.model_dump(), file, indent=1, ensure_ascii=False)
            file.write("\n")
    except FileExistsError:
        raise UserError("there is a file already", where=str(path), fix="--out with another name, or move it away") from None
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(path), fix="--out elsewhere") from None
    return path


def read_all(places: Sequence[Path]) -> tuple[list[Submission], list[Path]]:
    """Results from files and from folders of files, by learner. In a folder, files of another format are left out and handed
    back; a file named directly must hold results, and every file must be readable, else a `UserError` has its name."""
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
    """For each learner, which exercises pass when their files are judged here, with the course's shared files beside them;
    None for results of another course, whose lessons may have the same names. This runs the learners' code."""
    return [_judged(results, course) if results.course == course.name else None for results in collected]


def _judged(results: Submission, course: Course) -> dict[int, bool]:
    passed: dict[int, bool] = {}
    with tempfile.TemporaryDirectory(prefix="finewright-collect-") as place:
        bring_along(course, Path(place))
        for handed_in in results.lessons:
            lesson = next((one for one in course.lessons if one.name == handed_in.name and one.has_exercise), None)
            if lesson is None or not handed_in.source:
                continue
            file = Path(place) / f"{lesson.name}.py"
            file.write_text(handed_in.source, encoding="utf-8")
            about = lesson.about
            [verdict] = grader.grade([grader.Attempt(file, lesson.check)], seconds=about.seconds, memory_mb=about.memory_mb)
            passed[lesson.number] = verdict.passed
    return passed


def line(results: Submission, passed_here: dict[int, bool] | None = None) -> dict[str, Any]:
    """One learner in a table, JSON-ready."""
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
