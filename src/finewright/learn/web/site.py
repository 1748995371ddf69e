"""The course's pages. Paths are looked up among known names, never joined to a folder; `web.guard` lets only the learner in."""

import datetime
import threading
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.routing import Route

from finewright.core import assets
from finewright.core.errors import UserError
from finewright.learn import quiz
from finewright.learn.course import Lesson
from finewright.learn.grading.grader import GradeResult
from finewright.learn.quiz import AnsweredQuestion, QuizRound
from finewright.learn.web.lesson_markdown import render_markdown
from finewright.learn.workspace import YOURS_MARK, Hint, Workspace
from finewright.web import guard, pages
from finewright.web.server import LocalServer

T = TypeVar("T")
_STATIC = {path.name: path for path in assets.WEB.iterdir() if path.is_file()}
_SANDBOX = {"Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; sandbox"}
"""For a picture that is opened on its own; its style knows the dark theme."""


def create_server(workspace: Workspace, *, port: int = 0) -> LocalServer:
    """Return a server of the course's pages, not started yet. Raise `UserError` if the port cannot be used."""
    return LocalServer(Site(workspace).build_app(), name="learn", title="course", port=port)


class Site:
    """The pages of one learner and their state between requests. Starlette calls the methods in several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lessons = {lesson.name: lesson for lesson in workspace.course.lessons}
        self._grades: dict[str, GradeResult] = {}
        self._hints: dict[str, Hint] = {}
        self._solutions: dict[str, str] = {}
        self._notes: list[str] = []
        self._round: QuizRound | None = None
        self._answered: AnsweredQuestion | None = None
        self._checking = threading.Lock()
        self._changing = threading.Lock()

    def build_app(self) -> Starlette:
        """Return the pages as an ASGI application."""
        routes = [
            Route("/", self._overview),
            Route("/lessons/{lesson}", self._lesson),
            Route("/lessons/{lesson}/{action}", self._act, methods=["POST"]),
            Route("/figures/{lesson}/{theme}.png", self._figure),
            Route("/pictures/{lesson}/{file}", self._picture),
            Route("/static/{file}", self._static),
            Route("/quiz", self._quiz),
            Route("/quiz/begin", self._begin, methods=["POST"]),
            Route("/quiz/answer", self._answer, methods=["POST"]),
            Route("/quiz/next", self._next, methods=["POST"]),
            Route("/progress", self._progress),
        ]
        handlers = {404: self._not_found, 405: self._not_found, UserError: self._not_possible, Exception: self._broken}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        return app

    def _page(self, template: str, title: str, *, place: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> HTMLResponse:
        notes, self._notes = [*self._workspace.progress.take_notes(), *self._notes], []
        return HTMLResponse(pages.render(template, title=title, place=place, notes=notes, **values), status_code=status)

    def _not_found(self, request: Request, error: Exception) -> HTMLResponse:
        return self._page("not_found.html", "No such page", place="", status=HTTPStatus.NOT_FOUND)

    def _not_possible(self, request: Request, error: Exception) -> HTMLResponse:
        text = pages.render("base.html", title="Not possible", place="", notes=[str(error)])
        return HTMLResponse(text, status_code=HTTPStatus.CONFLICT)

    def _broken(self, request: Request, error: Exception) -> HTMLResponse:
        sentence = "Please report it; the terminal's commands may still work."
        return guard.show_message("This should not happen", sentence, status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def _find_lesson(self, request: Request) -> Lesson:
        """Return the lesson of the path."""
        return _find_known(self._lessons, request.path_params["lesson"])

    def _overview(self, request: Request) -> HTMLResponse:
        lines = self._workspace.overview(self._workspace.progress.read())
        return self._page("overview.html", "Lessons", place="/", lines=lines, course=self._workspace.course)

    def _lesson(self, request: Request) -> HTMLResponse:
        one = self._find_lesson(request)
        lines = self._workspace.overview(self._workspace.progress.read())
        before, mark, after = one.text.partition(YOURS_MARK)
        lessons, file, grade = self._workspace.course.lessons, self._workspace.file(one), self._grades.get(one.name)
        index = lessons.index(one)
        return self._page(
            "lesson.html",
            one.about.title,
            place="/",
            lesson=one,
            before=render_markdown(before, one),
            own=self._workspace.own_results(one) if mark else None,
            after=render_markdown(after, one),
            state=lines[index]["state"],
            file=file,
            started=file.exists(),
            grade=grade,
            says=self._workspace.says(one, grade.wrong) if grade else "",
            hint=self._hints.get(one.name),
            solution=self._solutions.get(one.name, ""),
            lessons=lessons,
            index=index,
        )

    def _figure(self, request: Request) -> FileResponse:
        one, theme = self._find_lesson(request), request.path_params["theme"]
        dark = _find_known({"light": False, "dark": True}, theme)
        path = self._workspace.picture(one, self._workspace.own_results(one), dark=dark)
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return FileResponse(path, headers=_SANDBOX)

    def _picture(self, request: Request) -> FileResponse:
        path = _find_known(self._find_lesson(request).pictures, request.path_params["file"])
        return FileResponse(path, headers=_SANDBOX)

    def _static(self, request: Request) -> FileResponse:
        return FileResponse(_find_known(_STATIC, request.path_params["file"]), headers=_SANDBOX)

    def _act(self, request: Request) -> RedirectResponse:
        """Do what a button of a lesson asks for. A `UserError` is shown on the next page."""
        one = self._find_lesson(request)
        try:
            match request.path_params["action"]:
                case "start":
                    self._workspace.start(one)
                case "check":
                    self._check(one)
                case "hint":
                    self._hints[one.name] = self._workspace.hint(one)
                case "solution":
                    give_up = request.state.form.get("give_up") == "yes"
                    self._solutions[one.name] = self._workspace.solution(one, give_up=give_up)
                case _:
                    raise HTTPException(HTTPStatus.NOT_FOUND)
        except UserError as error:
            self._notes.append(str(error))
        return _redirect(f"/lessons/{one.name}#result")

    def _check(self, one: Lesson) -> None:
        if not self._checking.acquire(blocking=False):
            raise UserError("a check is running", fix="wait for it to end")
        try:
            self._grades[one.name] = self._workspace.check(one)
            self._hints.pop(one.name, None)
        finally:
            self._checking.release()

    def _quiz(self, request: Request) -> HTMLResponse:
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

    def _begin(self, request: Request) -> RedirectResponse:
        wanted = request.state.form.get("lesson", "all")
        number = next((one.number for one in self._workspace.course.lessons if str(one.number) == wanted), None)
        begun = quiz.start_round(self._workspace, number=number)
        with self._changing:
            self._round, self._answered = begun, None
        return _redirect("/quiz")

    def _answer(self, request: Request) -> RedirectResponse:
        """Record an answer. One for an earlier question, as after the browser's back button, is ignored."""
        form: dict[str, str] = request.state.form
        choice = form.get("choice", "")
        with self._changing:
            is_open = self._round and self._round.current and not self._answered
            if self._round and is_open and form.get("number") == str(self._round.number) and choice in list("012345"):
                try:
                    self._answered = self._round.answer(int(choice))
                except UserError as error:
                    self._notes.append(str(error))
        return _redirect("/quiz#result")

    def _next(self, request: Request) -> RedirectResponse:
        self._answered = None
        return _redirect("/quiz")

    def _progress(self, request: Request) -> HTMLResponse:
        state = self._workspace.progress.read()
        counts = self._workspace.summary(state, today=datetime.date.today())
        rows = []
        for line in self._workspace.overview(state):
            held = f"{line['claims_held']} of {line['claims']}" if line["claims"] else ""
            shown = "✓ passed" if line["state"] == "passed" else line["state"]
            rows.append([line["number"], line["title"], shown, line["attempts"] or "", held])
        return self._page("progress.html", "Progress", place="/progress", rows=rows, counts=counts)


def _find_known(known: dict[str, T], name: str) -> T:
    """Return the value of a known name; otherwise there is no such page."""
    if name not in known:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return known[name]


def _redirect(path: str) -> RedirectResponse:
    """Redirect to a page after a form."""
    return RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER)
