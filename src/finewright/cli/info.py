"""The commands that show what there is: methods, options, this machine, the demo."""

from pathlib import Path
from typing import Annotated

import typer

from finewright.cli.arguments import Json, Set


def register(app: typer.Typer) -> None:
    """Put the commands of this file on the program."""
    app.command(epilog="Example: finewright demo")(demo)
    app.command(epilog="Example: finewright methods --json")(methods)
    app.command(epilog="Example: finewright knobs")(options)
    app.command(epilog="Example: finewright doctor")(doctor)


def demo(
    out: Annotated[Path | None, typer.Option(help="Folder for the runs. [default: runs/demo]")] = None,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Every way on the embedded data with the embedded model: some two minutes on two cores, no network."""
    from finewright.cli import compare_view
    from finewright.cli import demo as demo_runs
    from finewright.cli.console import ErrorConsole, OutputConsole, print_json
    from finewright.cli.demo import play
    from finewright.core import config

    console = ErrorConsole()
    listener = compare_view.CompareListener(console)
    console.print(
        f"Model and data are inside the package: {demo_runs.DATA.name}, {len(demo_runs.candidates())} ways.", highlight=False
    )
    try:
        outcome = play(out=out, options=config.parse_assignments(assignments or []), on_event=listener)
    finally:
        listener.close()
    if as_json:
        print_json(outcome.as_json())
        return
    compare_view.show_demo(outcome, OutputConsole())


def methods(as_json: Json = False) -> None:
    """List the ways of fine-tuning and their knobs."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.methods import describe_methods

    table = describe_methods()
    if as_json:
        print_json({"methods": table})
        return
    console = OutputConsole()
    for way in table:
        width = f" for a width of {way['lr_width']}" if way["lr_width"] else ""
        console.print(f"[bold]{way['method']}[/bold]  {way['summary']}; learning rate {way['lr']:g}{width}", highlight=False)
        if rows := [["  " + option["option"], option["default"], option["help"]] for option in way["options"]]:
            console.print(progress.rows_table(["  knob", "default", ""], rows))
    console.print("\nSet one with --set, for instance --set method.rank=16. Every other knob: finewright knobs")


def options(as_json: Json = False) -> None:
    """List the knobs that every way shares."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.core.config import RunConfig, describe_options

    rows = describe_options(RunConfig)
    if as_json:
        print_json({"options": [{"option": name, "default": default, "help": text} for name, default, text in rows]})
        return
    OutputConsole().print(progress.rows_table(["option", "default", ""], [list(row) for row in rows]))


def doctor(as_json: Json = False) -> None:
    """Say what this machine can do, what is missing, and the command that brings it."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.runs.doctor import examine

    found = list(examine())
    if as_json:
        print_json({"diagnoses": [vars(line) for line in found]})
        return
    rows = [[line.status, line.name, line.detail + (f" → {line.fix}" if line.fix else "")] for line in found]
    OutputConsole().print(progress.rows_table(["", "", ""], rows))
