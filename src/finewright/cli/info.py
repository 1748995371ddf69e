"""The commands that list methods and options, examine the machine and run the demo."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finewright.cli.arguments import Json, Quiet, Set, Verbose, choose_verbosity
from finewright.core.errors import UserError
from finewright.core.events import Notice, StageStarted


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(epilog="Example: finewright demo")(demo)
    app.command(epilog="Example: finewright methods --json")(methods)
    app.command(epilog="Example: finewright tasks")(tasks)
    app.command(epilog="Example: finewright models --json")(models)
    app.command(epilog="Example: finewright options")(options)
    app.command(epilog="Example: finewright doctor")(doctor)


def demo(
    every_method: Annotated[
        bool, typer.Option("--methods", help="Compare all methods on all rows instead: two to three minutes.")
    ] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Teach a small language model to answer messages in JSON instead: some minutes.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs. [default: runs/demo, runs/demo-methods or runs/demo-chat]")
    ] = None,
    assignments: Set = None,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Learn a help desk's labels from 56 messages, beside what else could be done with them: under a minute, no network."""
    if chat:
        if every_method:
            raise UserError("--chat and --methods are two demos", where="--chat", fix="give one of them")
        _demo_chat(out=out, assignments=assignments or [], as_json=as_json, verbose=verbose, quiet=quiet)
        return
    from finewright.cli import compare_view, demo_view
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.cli.demo import run_demo
    from finewright.core import config

    console = ErrorConsole()
    display = compare_view.ComparisonDisplay(console, verbosity=choose_verbosity(verbose=verbose, quiet=quiet))
    if not quiet:
        console.print(demo_view.describe_start(every_method=every_method), highlight=False)
    try:
        result = run_demo(
            every_method=every_method, out=out, options=config.parse_assignments(assignments or []), on_event=display
        )
    finally:
        display.close()
    if as_json:
        print_json(result.as_json())
        return
    show = demo_view.show_methods if every_method else demo_view.show_few_rows
    show(result, OutputConsole())
    if verbose:
        compare_view.show_choices(result.comparison, OutputConsole())


def _demo_chat(*, out: Path | None, assignments: list[str], as_json: bool, verbose: bool, quiet: bool) -> None:
    from finewright.cli import signals
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.cli.progress import ProgressDisplay

    console = ErrorConsole()
    display = ProgressDisplay(console, verbosity=choose_verbosity(verbose=verbose, quiet=quiet))
    try:
        display(StageStarted("start"))  # importing takes seconds
        from finewright.cli import chat_demo, chat_demo_view
        from finewright.core import config

        setup = chat_demo.choose_setup()
        display.panel.answer_rounds = 3.0 if setup.has_base else 1.0  # after training; of the base with a longer prompt
        if not quiet:
            console.print(chat_demo_view.describe_start(setup), highlight=False)

        def hear(event: Any) -> None:
            if verbose or not (isinstance(event, Notice) and event.level == "info" and event.code in ("data", "task")):
                display(event)

        result = chat_demo.run_chat_demo(
            setup, out=out, options=config.parse_assignments(assignments), on_event=hear, stop=signals.STOP
        )
    finally:
        display.close()
    if as_json:
        print_json(result.as_json())
        return
    chat_demo_view.show(result, OutputConsole())


def methods(as_json: Json = False) -> None:
    """List the fine-tuning methods and the baselines, with their options."""
    from finewright.baselines import describe_answer_baselines, describe_baselines
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.core.program import localize_commands
    from finewright.methods import describe_methods

    table, baselines, of_answers = describe_methods(), describe_baselines(), describe_answer_baselines()
    if as_json:
        print_json({"methods": table, "baselines": baselines, "answer_baselines": of_answers})
        return
    console = OutputConsole()
    for method in table:
        width = f" for a width of {method['lr_width']}" if method["lr_width"] else ""
        console.print(
            f"[bold]{method['method']}[/bold]  {method['summary']}; learning rate {method['lr']:g}{width}", highlight=False
        )
        if rows := [["  " + option["option"], option["default"], option["help"]] for option in method["options"]]:
            console.print(progress.rows_table(["  option", "default", ""], rows))
    console.print("\nBaselines, which train no weight of a model (`auto` never takes them):", highlight=False)
    for baseline in baselines:
        console.print(f"[bold]{baseline['method']}[/bold]  {baseline['summary']}", highlight=False)
        rows = [["  " + option["option"], option["default"], option["help"]] for option in baseline["options"]]
        console.print(progress.rows_table(["  option", "default", ""], rows))
    what = "\nBaselines of language models, which fit nothing: `finewright compare` measures them"
    console.print(localize_commands(what), highlight=False)
    for baseline in of_answers:
        console.print(f"[bold]{baseline['method']}[/bold]  {baseline['summary']}", highlight=False)
    hint = "\nSet one with --set, for instance --set method.rank=16. All other options: finewright options"
    console.print(localize_commands(hint), highlight=False)


def tasks(as_json: Json = False) -> None:
    """List what can be learnt from which columns, with a data set to try each on."""
    from finewright.cli.console import OutputConsole, print_json
    from finewright.core.program import localize_commands
    from finewright.tasks import describe_tasks

    table = describe_tasks()
    if as_json:
        print_json({"tasks": table})
        return
    console = OutputConsole()
    for one in table:
        console.print(f"[bold]{one['task']}[/bold]  {one['summary']}", highlight=False)
        example = f"; try it: finewright train {one['example_data']}" if one["example_data"] else ""
        console.print(localize_commands(f"  columns {', '.join(one['columns'])}{example}"), highlight=False)
    console.print("\nThe columns of the data decide; --task NAME does where two tasks are likely.", highlight=False)


def models(as_json: Json = False) -> None:
    """List the architectures that are tested, with packed or padded batches, and what becomes of all others."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.models.architectures import describe_architectures
    from finewright.models.derivation import OTHER_ARCHITECTURES, TESTED

    table = describe_architectures()
    if as_json:
        print_json({"models": table, "tested": TESTED, "others": OTHER_ARCHITECTURES})
        return
    console = OutputConsole()
    rows = [[one["model_type"], one["batches"], one["head"], "; ".join([*one["limits"], one["why_padded"]])] for one in table]
    rows = [[*row[:3], row[3].strip("; ")] for row in rows]
    console.print(progress.rows_table(["model_type", "batches", "head", ""], rows))
    console.print(f"\n{TESTED}\n\n{OTHER_ARCHITECTURES}", highlight=False)


def options(as_json: Json = False) -> None:
    """List the options that all methods share."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.core.config import RunConfig, describe_options

    rows = describe_options(RunConfig)
    if as_json:
        print_json({"options": [{"option": name, "default": default, "help": text} for name, default, text in rows]})
        return
    OutputConsole().print(progress.rows_table(["option", "default", ""], [list(row) for row in rows]))


def doctor(as_json: Json = False) -> None:
    """Report what this machine can do, what is missing, and the command that installs it."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.runs.doctor import examine

    found = list(examine())
    if as_json:
        print_json({"diagnoses": [vars(line) for line in found]})
        return
    rows = [[line.status, line.name, line.detail + (f" → {line.fix}" if line.fix else "")] for line in found]
    OutputConsole().print(progress.rows_table(["", "", ""], rows))
