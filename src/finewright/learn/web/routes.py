"""Answers of the course's local page. Paths are looked up among known names, never joined to a folder."""

import datetime
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from finewright.core import assets
from finewright.core.errors import UserError
from finewright.learn import quiz
from finewright.learn.course import Lesson
from finewright.learn.grading.grader import GradeResult
from finewright.learn.quiz import AnsweredQuestion, QuizRound
from finewright.learn.web import pages
from finewright.learn.workspace import YOURS_MARK, Hint, Workspace

STATIC = assets.WEB
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def html(text: str, *, status: HTTPStatus = HTTPStatus.OK, cookie: str = "") -> "Reply":
        """A page."""
        return Reply(text.encode(), status=status, headers={"Set-Cookie": cookie} if cookie else {})

    @staticmethod
    def file(path: Path) -> "Reply":
        """Return a known file. A picture opened on its own is sandboxed."""
        return Reply(
            path.read_bytes(), kind=_KINDS[path.suffix], headers={"Content-Security-Policy": "default-src 'self'; sandbox"}
        )

    @staticmethod
    def redirect(path: str) -> "Reply":
        """Redirect to another page after a form."""
        return Reply(status=HTTPStatus.SEE_OTHER, headers={"Location": path})


class Site:
    """The pages of one learner and their state between requests."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lessons = {lesson.name: lesson for lesson in workspace.course.lessons}
        self._static = {f"/static/{path.name}": path for path in STATIC.iterdir() if path.suffix in _KINDS}
        self._grades: dict[str, GradeResult] = {}
        self._hints: dict[str, Hint] = {}
        self._solutions: dict[str, str] = {}
        self._notes: list[str] = []
        self._round: QuizRound | None = None
        self._answered: AnsweredQuestion | None = None
        self._checking = threading.Lock()
        self._changing = threading.Lock()

    def get(self, path: str) -> Reply:
        """Answer a GET request: a page, a picture or a static file."""
        if path in self._static:
            return Reply.file(self._static[path])
        match path.split("/")[1:]:
            case [""]:
                return self._overview()
            case ["lessons", name] if name in self._lessons:
                return self._lesson(self._lessons[name])
            case ["figures", name, theme] if name in self._lessons and theme in ("light.png", "dark.png"):
                return self._figure(self._lessons[name], dark=theme == "dark.png")
            case ["pictures", name, file] if name in self._lessons and file in self._lessons[name].pictures:
                return Reply.file(self._lessons[name].pictures[file])
            case ["quiz"]:
                return self._quiz()
            case ["progress"]:
                return self._progress()
        return self._not_found()

    def post(self, path: str, form: dict[str, str]) -> Reply:
        """Answer a form. A `UserError` is shown on the next page."""
        match path.split("/")[1:]:
            case ["lessons", name, action] if name in self._lessons and action in ("start", "check", "hint", "solution"):
                try:
                    self._act(self._lessons[name], action, form)
                except UserError as error:
                    self._notes.append(str(error))
                return Reply.redirect(f"/lessons/{name}#result")
            case ["quiz", "begin"]:
                return self._begin(form)
            case ["quiz", "answer"]:
                return self._answer(form)
            case ["quiz", "next"]:
                self._answered = None
                return Reply.redirect("/quiz")
        return self._not_found()

    def _page(self, template: str, title: str, *, place: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Reply:
        notes, self._notes = [*self._workspace.progress.take_notes(), *self._notes], []
        return Reply.html(pages.render(template, title=title, place=place, notes=notes, **values), status=status)

    def _not_found(self) -> Reply:
        return self._page("not_found.html", "No such page", place="", status=HTTPStatus.NOT_FOUND)

    def _overview(self) -> Reply:
        lines = self._workspace.overview(self._workspace.progress.read())
        return self._page("overview.html", "Lessons", place="/", lines=lines, course=self._workspace.course)

    def _lesson(self, one: Lesson) -> Reply:
        lines = self._workspace.overview(self._workspace.progress.read())
        state = next(line["state"] for line in lines if line["name"] == one.name)
        before, mark, after = one.text.partition(YOURS_MARK)
        lessons, file, grade = self._workspace.course.lessons, self._workspace.file(one), self._grades.get(one.name)
        index = lessons.index(one)
        neighbours = [("Before", other) for other in lessons[max(0, index - 1) : index]]
        neighbours += [("Next", other) for other in lessons[index + 1 : index + 2]]
        return self._page(
            "lesson.html",
            one.about.title,
            place="/",
            lesson=one,
            before=pages.render_markdown(before, one),
            own=self._workspace.own_results(one) if mark else None,
            after=pages.render_markdown(after, one),
            state=state,
            file=file,
            started=file.exists(),
            grade=grade,
            says=self._workspace.says(one, grade.wrong) if grade else "",
            hint=self._hints.get(one.name),
            solution=self._solutions.get(one.name, ""),
            neighbours=neighbours,
        )

    def _figure(self, one: Lesson, *, dark: bool) -> Reply:
        path = self._workspace.picture(one, self._workspace.own_results(one), dark=dark)
        return Reply.file(path) if path else self._not_found()

    def _act(self, one: Lesson, action: str, form: dict[str, str]) -> None:
        if action == "start":
            self._workspace.start(one)
        elif action == "hint":
            self._hints[one.name] = self._workspace.hint(one)
        elif action == "solution":
            self._solutions[one.name] = self._workspace.solution(one, give_up=form.get("give_up") == "yes")
        elif not self._checking.acquire(blocking=False):
            raise UserError("a check is running", fix="wait for it to end")
        else:
            try:
                self._grades[one.name] = self._workspace.check(one)
                self._hints.pop(one.name, None)
            finally:
                self._checking.release()

    def _quiz(self) -> Reply:
        with self._changing:
            questions = [] if self._round else quiz.collect_questions(self._workspace.course, runs=self._workspace.runs)
            return self._page(
                "quiz.html",
                "Knowledge check",
                place="/quiz",
                quiz_round=self._round,
                answered=self._answered,
                num_questions=len(questions),
                num_own=sum(one.key.startswith("runs/") for one in questions),
            )

    def _begin(self, form: dict[str, str]) -> Reply:
        wanted = form.get("lesson", "all")
        lesson = next((one for one in self._workspace.course.lessons if str(one.number) == wanted), None)
        questions = quiz.collect_questions(
            self._workspace.course, runs=self._workspace.runs, number=lesson.number if lesson else None
        )
        state, today = self._workspace.progress.read(), datetime.date.today()
        count = len(questions) if lesson else quiz.USUAL_COUNT
        with self._changing:
            chosen = quiz.choose_questions(questions, state, count=count, today=today)
            self._round, self._answered = QuizRound(chosen, progress=self._workspace.progress), None
        return Reply.redirect("/quiz")

    def _answer(self, form: dict[str, str]) -> Reply:
        """Record an answer. One for an earlier question, as after the browser's back button, is ignored."""
        with self._changing:
            quiz_round, choice = self._round, form.get("choice", "")
            if (
                quiz_round
                and quiz_round.current
                and not self._answered
                and form.get("number") == str(quiz_round.number)
                and choice in list("012345")
            ):
                try:
                    self._answered = quiz_round.answer(int(choice))
                except UserError as error:
                    self._notes.append(str(error))
        return Reply.redirect("/quiz#result")

    def _progress(self) -> Reply:
        state = self._workspace.progress.read()
        counts = self._workspace.summary(state, today=datetime.date.today())
        rows = []
        for line in self._workspace.overview(state):
            held = f"{line['claims_held']} of {line['claims']}" if line["claims"] else ""
            shown = "✓ passed" if line["state"] == "passed" else line["state"]
            rows.append([line["number"], line["title"], shown, line["attempts"] or "", held])
        return self._page("progress.html", "Progress", place="/progress", rows=rows, counts=counts)
