"""The commands of `finewright learn`: parse, call, print."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="A course with exercises that check themselves, and questions about your own runs.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Number = Annotated[int, typer.Argument(help="The lesson's number.")]
CourseFolder = Annotated[Path | None, typer.Option("--course", help="A folder with lessons of your own, 01_name, 02_name.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run the checks of that course: they are code. Read them first.")]
Runs = Annotated[Path, typer.Option(help="Folder that holds your runs.")]
Json = Annotated[bool, typer.Option("--json", help="One machine-readable object on standard output; all else on standard error.")]
RUNS = Path("runs")


@app.callback(epilog="Example: finewright learn show 1")
def learn(
    ctx: typer.Context,
    web: Annotated[bool, typer.Option("--web", help="The course as a local page; the address is printed.")] = False,
    port: Annotated[int, typer.Option(help="Port of the page; 0: any that is free.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in your browser.")] = False,
    course: CourseFolder = None,
    trust: Trust = False,
    runs: Runs = RUNS,
) -> None:
    """A course with exercises that check themselves, and questions about your own runs."""
    ctx.obj = {"course": course, "trust": trust, "runs": runs}
    if ctx.invoked_subcommand:
        return
    desk = _desk(ctx)
    if not web:
        _show_overview(desk, as_json=False)
        return
    from finewright.cli.console import ErrorConsole
    from finewright.learn.web.server import Server

    server = Server(desk, port=port)
    console = ErrorConsole()
    console.print(f"The course is at {server.address}\nCtrl-C ends it.", highlight=False, soft_wrap=True)
    if browser:
        import webbrowser

        webbrowser.open(server.address)
    server.run()


@app.command("list", epilog="Example: finewright learn list --json")
def list_(ctx: typer.Context, course: CourseFolder = None, as_json: Json = False) -> None:
    """The lessons, and how far you have come."""
    _show_overview(_desk(ctx, course=course), as_json=as_json)


@app.command(epilog="Example: finewright learn show 3")
def show(ctx: typer.Context, number: Number, course: CourseFolder = None, runs: Runs = RUNS, as_json: Json = False) -> None:
    """A lesson, with numbers and a picture of your own runs."""
    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json

    desk = _desk(ctx, course=course, runs=runs)
    lesson = desk.course.lesson(number)
    if not as_json:
        learn_view.lesson(OutputConsole(), desk, lesson)
        return
    own = desk.yours(lesson)
    tables = {name: vars(one) if one else None for name, one in (("yours", own.table), ("kept", own.kept))}
    picture = desk.picture(lesson, own)
    makes = [make.model_dump() for make in own.makes]
    more = {"text": lesson.text, "picture": str(picture) if picture else None, "make": makes, **tables}
    print_json({**_line(desk, number), **more})


@app.command(epilog="Example: finewright learn start 4")
def start(
    ctx: typer.Context,
    number: Number,
    again: Annotated[bool, typer.Option("--again", help="Begin anew; your old file is kept under another name.")] = False,
    course: CourseFolder = None,
    as_json: Json = False,
) -> None:
    """Put a lesson's exercise into ./learn."""
    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json

    desk = _desk(ctx, course=course)
    lesson = desk.course.lesson(number)
    written = desk.start(lesson, again=again)
    if as_json:
        print_json({"lesson": number, "file": str(desk.file(lesson)), "written": [str(path) for path in written]})
        return
    learn_view.started(OutputConsole(), written, lesson)


@app.command(epilog="Example: finewright learn check 4")
def check(ctx: typer.Context, number: Number, course: CourseFolder = None, trust: Trust = False, as_json: Json = False) -> None:
    """Judge your exercise: 0 when it is right, 1 when it is not yet."""
    from finewright.cli import learn_view
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json

    desk = _desk(ctx, course=course, trust=trust)
    lesson = desk.course.lesson(number)
    with ErrorConsole().status("checking, about ten seconds"):
        verdict = desk.check(lesson)
    says = desk.says(lesson, verdict.wrong)
    if as_json:
        print_json({"lesson": number, "file": str(desk.file(lesson)), **verdict.as_json(), "says": says})
    else:
        learn_view.verdict(OutputConsole(), verdict, lesson, file=desk.file(lesson), says=says)
    if not verdict.passed:
        raise typer.Exit(1)


@app.command(epilog="Example: finewright learn hint 4")
def hint(ctx: typer.Context, number: Number, course: CourseFolder = None, as_json: Json = False) -> None:
    """The next step of help, about the mistake that the last check recognised, if it did."""
    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json

    desk = _desk(ctx, course=course)
    lesson = desk.course.lesson(number)
    step = desk.hint(lesson)
    if as_json:
        print_json({"lesson": number, **vars(step)})
        return
    learn_view.hint(OutputConsole(), step, lesson)


@app.command(epilog="Example: finewright learn solution 4")
def solution(
    ctx: typer.Context,
    number: Number,
    give_up: Annotated[bool, typer.Option("--give-up", help="Also when your exercise has not passed.")] = False,
    course: CourseFolder = None,
    as_json: Json = False,
) -> None:
    """One way to write it, once yours has passed."""
    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json

    desk = _desk(ctx, course=course)
    text = desk.solution(desk.course.lesson(number), give_up=give_up)
    if as_json:
        print_json({"lesson": number, "solution": text})
        return
    learn_view.code(OutputConsole(), text)


@app.command(epilog="Example: finewright learn quiz")
def quiz(
    ctx: typer.Context,
    number: Annotated[int | None, typer.Argument(help="Only this lesson's questions.")] = None,
    count: Annotated[int | None, typer.Option(help="How many. [default: 12, or all of a lesson]", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Another order.")] = 0,
    course: CourseFolder = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Questions: what you missed before, then new ones, a third of them about your own runs."""
    import datetime

    from finewright.cli import learn_view
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.learn.quiz import USUAL_COUNT, Round, choose, pool

    desk = _desk(ctx, course=course, runs=runs)
    state = desk.progress.read()
    _tell(desk.progress.take_notes())  # before the questions, which would push it out of sight
    console = ErrorConsole() if as_json else OutputConsole()
    questions = pool(desk.course, runs=desk.runs, number=number)
    wanted = count or (len(questions) if number is not None else USUAL_COUNT)
    chosen = choose(questions, state, count=wanted, today=datetime.date.today(), seed=seed)
    game = Round(chosen, progress=desk.progress, seed=seed)
    learn_view.play(console, game)
    if as_json:
        print_json(game.as_json())


@app.command(epilog="Example: finewright learn questions --json")
def questions(
    ctx: typer.Context,
    number: Annotated[int | None, typer.Argument(help="Only this lesson's.")] = None,
    course: CourseFolder = None,
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Every question with its answers and why each is right or wrong."""
    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json
    from finewright.learn.quiz import pool

    desk = _desk(ctx, course=course, runs=runs)
    found = pool(desk.course, runs=desk.runs, number=number)
    if as_json:
        print_json({"questions": [one.as_json() for one in found]})
        return
    learn_view.questions(OutputConsole(), found)


@app.command(epilog="Example: finewright learn progress")
def progress(ctx: typer.Context, course: CourseFolder = None, as_json: Json = False) -> None:
    """How far you have come, and which questions are due."""
    import datetime

    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json

    desk = _desk(ctx, course=course)
    state = desk.progress.read()
    summary = desk.summary(state, today=datetime.date.today())
    if as_json:
        print_json({"lessons": desk.overview(state), **summary})
        return
    learn_view.summary(OutputConsole(), desk.overview(state), summary)


@app.command(epilog="Example: finewright learn export --name 'Ada L.'")
def export(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="Your name, for the teacher.")],
    out: Annotated[Path | None, typer.Option(help="The file. [default: learn/results-NAME.json]")] = None,
    course: CourseFolder = None,
    as_json: Json = False,
) -> None:
    """Your results in one file, to hand in: exercises, attempts, answers."""
    from finewright.cli.console import OutputConsole, print_json
    from finewright.learn import submissions

    desk = _desk(ctx, course=course)
    state = desk.progress.read()
    results = submissions.create_submission(desk, state, learner=name)
    path = submissions.write(results, out or submissions.usual_path(desk, name))
    if as_json:
        print_json({"file": str(path), **submissions.line(results)})
        return
    OutputConsole().print(f"  wrote    {path}", highlight=False, soft_wrap=True)


@app.command("import", epilog="Example: finewright learn import handed-in/")
def import_(
    ctx: typer.Context,
    places: Annotated[list[Path], typer.Argument(help="Files of learners, or folders that hold them.")],
    recheck: Annotated[
        bool, typer.Option(help="Judge their exercises here. This runs the learners' code on this machine.")
    ] = False,
    course: CourseFolder = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """For teachers: what learners have handed in, one a line."""
    from finewright.cli import learn_view
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.learn import submissions

    desk = _desk(ctx, course=course, trust=trust)
    collected, others = submissions.read_all(places)
    if others:
        _tell([f"left out, not a learner's results: {', '.join(map(str, others))}"])
    passed: list[Any] = [None] * len(collected)
    if recheck:
        desk.require_trust(desk.course.lessons[0])
        with ErrorConsole().status("judging what was handed in"):
            passed = submissions.recheck(collected, desk.course)
        other = [f"{one.learner} ({one.course})" for one, here in zip(collected, passed, strict=True) if here is None]
        if other:
            _tell([f"not judged, as they are of another course than {desk.course.name}: {', '.join(other)}"])
    lines = [submissions.line(results, here) for results, here in zip(collected, passed, strict=True)]
    if as_json:
        print_json({"rechecked": recheck, "learners": lines})
        return
    learn_view.collected(OutputConsole(), lines)


def _desk(ctx: typer.Context, *, course: Path | None = None, trust: bool = False, runs: Path = RUNS) -> Any:
    """The options of a command, and those that stand before it. What is found out about the progress file is told at the
    latest when the command ends, however it ends."""
    from finewright.learn.workspace import Workspace

    given = ctx.obj
    runs = runs if runs != RUNS else given["runs"]
    desk = Workspace(course=course or given["course"], runs=runs, trust=trust or given["trust"])
    ctx.call_on_close(lambda: _tell(desk.progress.take_notes()))
    return desk


def _show_overview(desk: Any, *, as_json: bool) -> None:
    from finewright.cli import learn_view
    from finewright.cli.console import OutputConsole, print_json

    state = desk.progress.read()
    lines = desk.overview(state)
    if as_json:
        print_json({"lessons": lines})
        return
    following = desk.next_lesson(state)
    learn_view.overview(OutputConsole(), lines, next_number=following.number if following else None)


def _line(desk: Any, number: int) -> dict[str, Any]:
    return next(line for line in desk.overview(desk.progress.read()) if line["number"] == number)


def _tell(notes: list[str]) -> None:
    from finewright.cli.console import ErrorConsole

    for note in notes:
        ErrorConsole().print(f"warning: {note}", highlight=False, soft_wrap=True, markup=False)
