"""The commands about finished runs: list, show, evaluate, predict."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finewright.cli.arguments import Json, Label, Set, Text, data_knobs
from finewright.core.errors import UserError


def register(app: typer.Typer) -> None:
    """Put the commands of this file on the program."""
    app.command(epilog="Example: finewright evaluate runs/tickets-lora-seed0 new.csv")(evaluate)
    app.command(epilog="Example: finewright predict runs/tickets-lora-seed0 'where is my parcel?'")(predict)
    app.command(epilog="Example: finewright runs show runs/tickets-lora-seed0")(runs)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str, typer.Argument(help="A file with labelled rows.")],
    text_column: Text = None,
    label_column: Label = None,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Measure a run on other labelled rows."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.runs.run import open_run

    options = data_knobs(assignments, text_column=text_column, label_column=label_column)
    measured = open_run(run).evaluate(data, options=options)
    if as_json:
        print_json(measured)
        return
    console = OutputConsole()
    low, high = measured["accuracy_ci95"]
    console.print(f"accuracy {measured['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, {measured['num_rows']:,} rows)")
    console.print(
        f"macro F1 {measured['macro_f1']:.3f}   loss {measured['loss']:.3f}   "
        f"always the majority {measured['majority_accuracy']:.3f}"
    )
    rows = [
        [name, *(f"{v[key]:.3f}" for key in ("precision", "recall", "f1")), str(v["num_rows"])]
        for name, v in measured["per_class"].items()
    ]
    console.print(progress.rows_table(["label", "precision", "recall", "F1", "rows"], rows))
    worst = [[w["label"], w["predicted"], f"{w['probability']:.2f}", w["text"][:80]] for w in measured["worst_mistakes"]]
    if worst:
        console.print(progress.rows_table(["worst mistakes: label", "predicted", "sure", "text"], worst))


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, one a line from standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with texts.")] = None,
    text_column: Text = None,
    as_json: Json = False,
) -> None:
    """Label texts with a run."""
    from finewright import api
    from finewright.cli import console as terminal
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.data import dataset

    wanted = (
        dataset.read_texts(file, options=data_knobs(None, text_column=text_column)) if file else texts or terminal.read_lines()
    )
    predictions = api.predict(run, wanted)
    if as_json:
        print_json({"predictions": predictions})
        return
    rows = [[line["label"], f"{line['probability']:.3f}", line["text"]] for line in predictions]
    OutputConsole().print(progress.rows_table(["label", "probability", "text"], rows))


def runs(
    action: Annotated[str | None, typer.Argument(help="`show` for one run.")] = None,
    run: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    root: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs, or show one."""
    from finewright.cli import progress
    from finewright.cli.console import OutputConsole, print_json
    from finewright.runs.folder import list_runs, open_run

    if action not in (None, "show") or (action == "show") != (run is not None):
        raise UserError(f"wanted `runs` or `runs show RUN`, found {action!r}", fix="finewright runs show runs/NAME")
    if run is not None:
        folder = open_run(run)
        result = folder.read_json(folder.result)
        if as_json:
            print_json(result)
        else:
            OutputConsole().print(progress.result_table(result))
            choices = folder.read_json(folder.config)["choices"]
            rows = [[choice["option"], str(choice["value"]), choice["reason"]] for choice in choices]
            OutputConsole().print(progress.rows_table(["chosen", "value", "because"], rows))
        return
    found = [_run_line(folder) for folder in list_runs(root)]
    if as_json:
        print_json({"runs": found})
        return
    rows = [[line["run"], line["state"], line["method"], line["model"], line["accuracy"], line["seconds"]] for line in found]
    OutputConsole().print(progress.rows_table(["run", "state", "method", "model", "test accuracy", "seconds"], rows))


def _run_line(folder: Any) -> dict[str, str]:
    line = {"run": str(folder.path), "state": "unfinished", "method": "", "model": "", "accuracy": "", "seconds": ""}
    if not folder.complete:
        return line
    try:
        result = folder.read_json(folder.result)
        test = result["metrics"].get("test")
        accuracy, seconds = f"{test['accuracy']:.3f}" if test else "", f"{result['train_seconds']:.1f}"
        measured = {"method": result["method"], "model": result["model"], "accuracy": accuracy, "seconds": seconds}
    except (UserError, KeyError, TypeError, AttributeError, ValueError):
        return line | {"state": "damaged"}  # one damaged run does not hide the others
    return line | {"state": "finished"} | measured
