"""The command `runs`: list finished runs, or show one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finewright.cli.arguments import Json
from finewright.core.errors import UserError

if TYPE_CHECKING:
    from finewright.runs.folder import RunFolder


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright runs show runs/tickets-lora-seed0")(runs)


def runs(
    action: Annotated[str | None, typer.Argument(help="`show` for one run.")] = None,
    run: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    root: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs, or show one."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.runs import schema
    from finewright.runs.folder import list_runs, open_run
    from finewright.runs.schema import RunConfigFile, RunResult

    if action not in (None, "show") or (action == "show") != (run is not None):
        raise UserError(f"wanted `runs` or `runs show RUN`, found {action!r}", fix="finewright runs show runs/NAME")
    if run is not None:
        folder = open_run(run)
        result = schema.read(RunResult, folder.result)
        if as_json:
            print_json(schema.dump(result))
        else:
            OutputConsole().print(progress.result_table(result))
            choices = schema.read(RunConfigFile, folder.config).choices
            rows = [[choice.option, str(choice.value), choice.reason] for choice in choices]
            OutputConsole().print(progress.rows_table(["chosen", "value", "because"], rows))
        return
    found = [_run_line(folder) for folder in list_runs(root)]
    if as_json:
        print_json({"runs": found})
        return
    rows = [[line["run"], line["state"], line["method"], line["model"], line["accuracy"], line["seconds"]] for line in found]
    OutputConsole().print(progress.rows_table(["run", "state", "method", "model", "test accuracy", "seconds"], rows))


def _run_line(folder: "RunFolder") -> dict[str, str]:
    from finewright.runs import schema
    from finewright.runs.schema import ClassificationMetrics, RunResult

    line = {"run": str(folder.path), "state": "unfinished", "method": "", "model": "", "accuracy": "", "seconds": ""}
    if not folder.complete:
        return line
    try:
        result = schema.read(RunResult, folder.result)
    except UserError:
        return line | {"state": "damaged"}  # one damaged run does not hide the others
    test, seconds = result.metrics.test, f"{result.train_seconds:.1f}"
    measured = {
        "method": result.method,
        "model": result.model,
        "accuracy": f"{test.accuracy:.1%}" if isinstance(test, ClassificationMetrics) else "",
    }
    return line | {"state": "finished", "seconds": seconds} | measured
