"""The commands of `finewright learn`: parse, call, print."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import Json

if TYPE_CHECKING:
    from finewright.cli.console import OutputConsole
    from finewright.learn.course import Lesson
    from finewright.learn.workspace import Workspace

app = typer.Typer(
    help="A course with self-checking exercises, and questions about your own runs.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Number = Annotated[int, typer.Argument(help="The lesson's number.")]
CourseFolder = Annotated[Path | None, typer.Option("--course", help="A folder with lessons of your own, 01_name, 02_name.")]
Trust = Annotated[bool, typer.Option("--trust", help="Allow that course to run its checks, which are code. Read them first.")]
Runs = Annotated[Path, typer.Option(help="Folder that holds your runs.")]
RUNS = Path("runs")


@app.callback(epilog="Example: finewright learn show 1")
def learn(
    ctx: typer.Context,
    web: Annotated[bool, typer.Option("--web", help="Serve the course as a local web page and print its address.")] = False,
    port: Annotated[int, typer.Option(help="Port of the page; 0: any free port.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in your browser.")] = False,
    course: CourseFolder = None,
    trust: Trust = False,
    runs: Runs = RUNS,
) -> None:
    """A course with self-checking exercises, and questions about your own runs."""
    ctx.obj = {"course": course, "trust": trust, "runs": runs}
    if ctx.invoked_subcommand:
        return
    workspace = _open_workspace(ctx)
    if not web:
        _show_overview(workspace, as_json=False)
        return
    from finewright import web as web_extra
    from finewright.cli.console import ErrorConsole

    web_extra.check_installed(where="--web")
    from finewright.learn.web.site import create_server

    server = create_server(workspace, port=port)
    console = ErrorConsole()
    console.print(f"The course is at {server.address}\nCtrl-C ends it.", highlight=False, soft_wrap=True)
    if browser:
        import webbrowser

        webbrowser.open(server.address)
    server.run()


@app.command("list", epilog="Example: finewright learn list --json")
def list_(ctx: typer.Context, course: CourseFolder = None, runs: Runs = RUNS, as_json: Json = False) -> None:
    """List the lessons and your progress."""
    _show_overview(_open_workspace(ctx, course=course, runs=runs), as_json=as_json)


@app.command(epilog="Example: finewright learn show 3")
def show(ctx: typer.Context, number: Number, course: CourseFolder = None, runs: Runs = RUNS, as_json: Json = False) -> None:
    """Show a lesson, with results and a plot of your own runs."""
    workspace = _open_workspace(ctx, course=course, runs=runs)
    lesson = workspace.course.lesson(number)
    value = _describe_lesson(workspace, lesson) if as_json else {}
    _print(as_json, value, lambda view, console: view.show_lesson(console, workspace, lesson))


@app.command(epilog="Example: finewright learn start 4")
def start(
    ctx: typer.Context,
    number: Number,
    again: Annotated[bool, typer.Option("--again", help="Start over; your old file is renamed.")] = False,
    course: CourseFolder = None,
    as_json: Json = False,
) -> None:
    """Copy a lesson's exercise to ./learn."""
    workspace = _open_workspace(ctx, course=course)
    lesson = workspace.course.lesson(number)
    written = workspace.start(lesson, again=again)
    value = {"lesson": number, "file": str(workspace.file(lesson)), "written": [str(path) for path in written]}
    _print(as_json, value, lambda view, console: view.show_started(console, written, lesson))


@app.command(epilog="Example: finewright learn check 4")
def check(ctx: typer.Context, number: Number, course: CourseFolder = None, trust: Trust = False, as_json: Json = False) -> None:
    """Check your exercise. Exit code 0: it passed; 1: not yet."""
    from finewright.cli.console import ErrorConsole

    workspace = _open_workspace(ctx, course=course, trust=trust)
    lesson = workspace.course.lesson(number)
    with ErrorConsole().status("checking, about ten seconds"):
        grade = workspace.check(lesson)
    file, says = workspace.file(lesson), workspace.says(lesson, grade.wrong)
    value = {"lesson": number, "file": str(file), **grade.as_json(), "says": says}
    _print(as_json, value, lambda view, console: view.show_grade(console, grade, lesson, file=file, says=says))
    if not grade.passed:
        raise typer.Exit(1)


@app.command(epilog="Example: finewright learn hint 4")
def hint(ctx: typer.Context, number: Number, course: CourseFolder = None, as_json: Json = False) -> None:
    """Show the next hint, about the mistake that the last check recognised, if any."""
    workspace = _open_workspace(ctx, course=course)
    lesson = workspace.course.lesson(number)
    step = workspace.hint(lesson)
    _print(as_json, {"lesson": number, **vars(step)}, lambda view, console: view.show_hint(console, step, lesson))


@app.command(epilog="Example: finewright learn solution 4")
def solution(
    ctx: typer.Context,
    number: Number,
    give_up: Annotated[bool, typer.Option("--give-up", help="Show it although your exercise has not passed.")] = False,
    course: CourseFolder = None,
    as_json: Json = False,
) -> None:
    """Show a solution, once yours has passed."""
    workspace = _open_workspace(ctx, course=course)
    text = workspace.solution(workspace.course.lesson(number), give_up=give_up)
    _print(as_json, {"lesson": number, "solution": text}, lambda view, console: view.show_code(console, text))


@app.command(epilog="Example: finewright learn quiz")
def quiz(
    ctx: typer.Context,
    number: Annotated[int | None, typer.Argument(help="Only this lesson's questions.")] = None,
    count: Annotated[int | None, typer.Option(help="How many. [default: 12, or all of a lesson]", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order.")] = 0,
    course: CourseFolder = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Ask questions: those you missed before, then new ones, a third of them about your own runs."""
    from finewright.cli import learn_view
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.learn.quiz import start_round

    workspace = _open_workspace(ctx, course=course, runs=runs)
    console = ErrorConsole() if as_json else OutputConsole()
    quiz_round = start_round(workspace, number=number, count=count, seed=seed)
    _print_warnings(workspace.progress.take_notes())  # before the questions, which would scroll it away
    learn_view.ask_questions(console, quiz_round)
    if as_json:
        print_json(quiz_round.as_json())


@app.command(epilog="Example: finewright learn questions --json")
def questions(
    ctx: typer.Context,
    number: Annotated[int | None, typer.Argument(help="Only this lesson's.")] = None,
    course: CourseFolder = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """List every question with its answers and why each is right or wrong."""
    from finewright.learn.quiz import collect_questions

    workspace = _open_workspace(ctx, course=course, runs=runs)
    found = collect_questions(workspace.course, runs=workspace.runs, number=number)
    value = {"questions": [one.model_dump() for one in found]}
    _print(as_json, value, lambda view, console: view.show_questions(console, found))


@app.command(epilog="Example: finewright learn progress")
def progress(ctx: typer.Context, course: CourseFolder = None, as_json: Json = False) -> None:
    """Show your progress and which questions are due."""
    workspace = _open_workspace(ctx, course=course)
    state = workspace.progress.read()
    lines, summary = workspace.overview(state), workspace.summary(state, today=datetime.date.today())
    _print(as_json, {"lessons": lines, **summary}, lambda view, console: view.show_summary(console, lines, summary))


@app.command(epilog="Example: finewright learn export --name 'Ada L.'")
def export(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="Your name, for the teacher.")],
    out: Annotated[Path | None, typer.Option(help="The file. [default: learn/results-NAME.json]")] = None,
    course: CourseFolder = None,
    as_json: Json = False,
) -> None:
    """Write your results to one file to hand in: exercises, attempts, answers."""
    from finewright.learn import submissions

    workspace = _open_workspace(ctx, course=course)
    results = submissions.create_submission(workspace, workspace.progress.read(), learner=name)
    path = submissions.write_submission(results, out or submissions.default_path(workspace, name))
    value = {"file": str(path), **submissions.summarize(results)}
    _print(as_json, value, lambda view, console: view.show_written(console, [path]))


@app.command("import", epilog="Example: finewright learn import handed-in/")
def import_(
    ctx: typer.Context,
    places: Annotated[list[Path], typer.Argument(help="Files of learners, or folders that hold them.")],
    recheck: Annotated[
        bool, typer.Option(help="Grade their exercises here. This runs the learners' code on this machine.")
    ] = False,
    course: CourseFolder = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """For teachers: list what learners have handed in."""
    from finewright.cli.console import ErrorConsole
    from finewright.learn import submissions

    workspace = _open_workspace(ctx, course=course, trust=trust)
    collected, others = submissions.read_submissions(places)
    if others:
        _print_warnings([f"left out, not a learner's results: {', '.join(map(str, others))}"])
    passed: list[Any] = [None] * len(collected)
    if recheck:
        workspace.check_trust(workspace.course.lessons[0])
        with ErrorConsole().status("grading what was handed in"):
            passed = submissions.recheck(collected, workspace.course)
        other = [f"{one.learner} ({one.course})" for one, here in zip(collected, passed, strict=True) if here is None]
        if other:
            _print_warnings([f"not graded, because they are of another course than {workspace.course.name}: {', '.join(other)}"])
    lines = [submissions.summarize(results, here) for results, here in zip(collected, passed, strict=True)]
    value = {"rechecked": recheck, "learners": lines}
    _print(as_json, value, lambda view, console: view.show_collected(console, lines))


def _open_workspace(ctx: typer.Context, *, course: Path | None = None, trust: bool = False, runs: Path = RUNS) -> "Workspace":
    """Open the workspace, with options given before or after the command. Warnings about the progress file are printed
    when the command ends, if not before."""
    from finewright.learn.workspace import Workspace

    given = ctx.obj
    runs = runs if runs != RUNS else given["runs"]
    workspace = Workspace(course=course or given["course"], runs=runs, trust=trust or given["trust"])
    ctx.call_on_close(lambda: _print_warnings(workspace.progress.take_notes()))
    return workspace


def _show_overview(workspace: "Workspace", *, as_json: bool) -> None:
    state = workspace.progress.read()
    lines, following = workspace.overview(state), workspace.next_lesson(state)
    number = following.number if following else None
    _print(as_json, {"lessons": lines}, lambda view, console: view.show_overview(console, lines, next_number=number))


def _describe_lesson(workspace: "Workspace", lesson: "Lesson") -> dict[str, Any]:
    """Return a lesson with results of the learner's own runs, JSON-ready."""
    line = next(one for one in workspace.overview(workspace.progress.read()) if one["number"] == lesson.number)
    own = workspace.own_results(lesson)
    tables = {"yours": own.table and own.table.model_dump(), "kept": own.saved and own.saved.model_dump()}
    picture = workspace.picture(lesson, own)
    makes = [make.model_dump() for make in own.commands]
    return {**line, "text": lesson.text, "picture": str(picture) if picture else None, "make": makes, **tables}


def _print(as_json: bool, value: dict[str, Any], show: Callable[[Any, "OutputConsole"], None]) -> None:
    """Print `value` as JSON, or let `show` print. `show` gets `learn_view`, which is imported late, and the console."""
    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json

    if as_json:
        print_json(value)
    else:
        show(learn_view, OutputConsole())


def _print_warnings(notes: list[str]) -> None:
    from finewright.cli.console import ErrorConsole

    for note in notes:
        ErrorConsole().print(f"warning: {note}", highlight=False, soft_wrap=True, markup=False)
