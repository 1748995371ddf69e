"""What each path of the course's local page answers; a path is looked up among known names, never joined to a folder."""

import datetime
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from finewright.core import assets
from finewright.core.errors import UserError
from finewright.learn import quiz
from finewright.learn.course import Lesson
from finewright.learn.grading.grader import GradeResult
from finewright.learn.quiz import Answered, Round
from finewright.learn.web import pages
from finewright.learn.workspace import Hint, Workspace

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
    """An answer, ready to be sent."""

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
        """A file that we know. A picture that is opened by itself may do nothing."""
        return Reply(
            path.read_bytes(), kind=_KINDS[path.suffix], headers={"Content-Security-Policy": "default-src 'self'; sandbox"}
        )

    @staticmethod
    def go(path: str) -> "Reply":
        """To another page, after a form."""
        return Reply(status=HTTPStatus.SEE_OTHER, headers={"Location": path})


class Site:
    """The pages of one learner, and what they remember between two clicks."""

    def __init__(self, desk: Workspace) -> None:
        self._desk = desk
        self._lessons = {lesson.name: lesson for lesson in desk.course.lessons}
        self._static = {f"/static/{path.name}": path for path in STATIC.iterdir() if path.suffix in _KINDS}
        self._verdicts: dict[str, GradeResult] = {}
        self._hints: dict[str, Hint] = {}
        self._solutions: dict[str, str] = {}
        self._notes: list[str] = []
        self._round: Round | None = None
        self._answered: Answered | None = None
        self._checking = threading.Lock()
        self._changing = threading.Lock()

    def get(self, path: str) -> Reply:
        """A page, a picture or a part of the design."""
        if path in self._static:
            return Reply.file(self._static[path])
        match path.split("/")[1:]:
            case [""]:
                return self._overview()
            case ["lessons", name] if name in self._lessons:
                return self._lesson(self._lessons[name])
            case ["figures", name, dress] if name in self._lessons and dress in ("light.png", "dark.png"):
                return self._figure(self._lessons[name], dark=dress == "dark.png")
            case ["pictures", name, file] if name in self._lessons and file in self._lessons[name].pictures:
                return Reply.file(self._lessons[name].pictures[file])
            case ["quiz"]:
                return self._quiz()
            case ["progress"]:
                return self._progress()
        return self._nothing()

    def post(self, path: str, form: dict[str, str]) -> Reply:
        """A form. What the learner can repair is said on the next page."""
        match path.split("/")[1:]:
            case ["lessons", name, action] if name in self._lessons and action in ("start", "check", "hint", "solution"):
                try:
                    self._act(self._lessons[name], action, form)
                except UserError as error:
                    self._notes.append(str(error))
                return Reply.go(f"/lessons/{name}#result")
            case ["quiz", "begin"]:
                return self._begin(form)
            case ["quiz", "answer"]:
                return self._answer(form)
            case ["quiz", "next"]:
                self._answered = None
                return Reply.go("/quiz")
        return self._nothing()

    def _page(self, title: str, body: str, place: str, *, status: HTTPStatus = HTTPStatus.OK) -> Reply:
        notes, self._notes = [*self._desk.progress.take_notes(), *self._notes], []
        return Reply.html(pages.page(title, body, place=place, notes=notes), status=status)

    def _nothing(self) -> Reply:
        body = '<h1>No such page</h1><p><a href="/">All lessons</a></p>'
        return self._page("No such page", body, "", status=HTTPStatus.NOT_FOUND)

    def _overview(self) -> Reply:
        state = self._desk.progress.read()
        return self._page("Lessons", pages.overview(self._desk, self._desk.overview(state)), "/")

    def _lesson(self, one: Lesson) -> Reply:
        lines = self._desk.overview(self._desk.progress.read())
        state = next(line["state"] for line in lines if line["name"] == one.name)
        panel = pages.panel(
            self._desk,
            one,
            state=state,
            verdict=self._verdicts.get(one.name),
            hint=self._hints.get(one.name),
            solution=self._solutions.get(one.name, ""),
        )
        body = pages.lesson(self._desk, one, self._desk.yours(one), panel=panel)
        return self._page(one.about.title, body, "/")

    def _figure(self, one: Lesson, *, dark: bool) -> Reply:
        path = self._desk.picture(one, self._desk.yours(one), dark=dark)
        return Reply.file(path) if path else self._nothing()

    def _act(self, one: Lesson, action: str, form: dict[str, str]) -> None:
        if action == "start":
            self._desk.start(one)
        elif action == "hint":
            self._hints[one.name] = self._desk.hint(one)
        elif action == "solution":
            self._solutions[one.name] = self._desk.solution(one, give_up=form.get("give_up") == "yes")
        elif not self._checking.acquire(blocking=False):
            raise UserError("a check is running", fix="wait for it to end")
        else:
            try:
                self._verdicts[one.name] = self._desk.check(one)
                self._hints.pop(one.name, None)
            finally:
                self._checking.release()

    def _quiz(self) -> Reply:
        with self._changing:
            game, answered = self._round, self._answered
            if game is None:
                questions = quiz.pool(self._desk.course, runs=self._desk.runs)
                num_own = sum(one.key.startswith("runs/") for one in questions)
                body = pages.quiz_start(num_questions=len(questions), num_own=num_own)
            elif answered:
                body = pages.quiz_answer(game, answered)
            elif game.current:
                body = pages.quiz_question(game)
            else:
                body = pages.quiz_end(game)
        return self._page("Knowledge check", body, "/quiz")

    def _begin(self, form: dict[str, str]) -> Reply:
        wanted = form.get("lesson", "all")
        lesson = next((one for one in self._desk.course.lessons if str(one.number) == wanted), None)
        questions = quiz.pool(self._desk.course, runs=self._desk.runs, number=lesson.number if lesson else None)
        state, today = self._desk.progress.read(), datetime.date.today()
        count = len(questions) if lesson else quiz.USUAL_COUNT
        with self._changing:
            chosen = quiz.choose(questions, state, count=count, today=today)
            self._round, self._answered = Round(chosen, progress=self._desk.progress), None
        return Reply.go("/quiz")

    def _answer(self, form: dict[str, str]) -> Reply:
        """An answer to a question that no longer waits, as from the browser's back button, is passed over."""
        with self._changing:
            game, choice = self._round, form.get("choice", "")
            if (
                game
                and game.current
                and not self._answered
                and form.get("number") == str(game.number)
                and choice in list("012345")
            ):
                try:
                    self._answered = game.answer(int(choice))
                except UserError as error:
                    self._notes.append(str(error))
        return Reply.go("/quiz#result")

    def _progress(self) -> Reply:
        state = self._desk.progress.read()
        counts = self._desk.summary(state, today=datetime.date.today())
        return self._page("Progress", pages.progress(self._desk.overview(state), counts), "/progress")
