"""One function per command: parse, call, print."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from finewright import cli_compare, cli_export, cli_plan, cli_train
from finewright.cli_learn import app as learn
from finewright.errors import UserError
from finewright.stop import Interrupted

app = typer.Typer(
    name="finewright",
    help="Fine-tune a pre-trained language model on your own labelled text, and trust the result.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(learn, name="learn")

Json = Annotated[bool, typer.Option("--json", help="One machine-readable object on standard output; all else on standard error.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any knob by its dotted name.")]
Text = Annotated[str | None, typer.Option("--text-column", help="Column with the text.")]
Label = Annotated[str | None, typer.Option("--label-column", help="Column with the label.")]


@app.command(epilog="Example: finewright demo")
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder for the runs. [default: runs/demo]")] = None,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Every way on the embedded data with the embedded model: some two minutes on two cores, no network."""
    from finewright import config as knobs
    from finewright import demo as show
    from finewright import scoreboard, terminal

    console = terminal.ErrorConsole()
    listener = scoreboard.CompareListener(console)
    console.print(f"Model and data are inside the package: {show.DATA.name}, {len(show.ways())} ways.", highlight=False)
    try:
        outcome = show.play(out=out, knobs=knobs.parse_assignments(assignments or []), listen=listener)
    finally:
        listener.close()
    if as_json:
        terminal.print_json(outcome.as_json())
        return
    scoreboard.show_demo(outcome, terminal.OutputConsole())


@app.command(epilog="Example: finewright train tickets.csv --model gpt2 --method lora --set method.rank=8")
def train(
    data: Annotated[
        str | None, typer.Argument(help="A file, a folder with train.*, validation.*, test.*, or a hub id.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Hub id or local folder. [default: openai-community/gpt2]")] = None,
    method: Annotated[str | None, typer.Option(help="A way of fine-tuning, see `finewright methods`. [default: auto]")] = None,
    test: Annotated[str | None, typer.Option(help="File with the test rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/NAME]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of order, dropout and new weights. [default: 0]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training rows.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    text_column: Text = None,
    label_column: Label = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with knobs.")] = None,
    budget: Annotated[str | None, typer.Option(help="Memory that may be taken, such as 8GB. [default: what is free]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Train even when the plan says that it does not fit.")] = False,
    assignments: Set = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an unfinished run; wants no DATA.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--change", metavar="KNOB=VALUE", help="With --resume: lr, epochs and the like, recorded.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune on labelled text and prove the result. An unfinished run of the same command goes on."""
    if resume is not None or data is None or changes:
        given = [data, model, method, test, out, seed, epochs, lr, text_column, label_column, config, assignments, budget]
        cli_train.show(cli_train.go_on(resume, given=[*given, force or None], changes=changes), as_json=as_json)
        return
    from finewright import config as knobs

    tree = knobs.read_toml(config) if config else {}
    given = {"model": model, "seed": seed, "train.epochs": epochs, "train.lr": lr}
    given |= {"data.text_column": text_column, "data.label_column": label_column, "budget": budget, "force": force or None}
    flags: dict[str, Any] = {}
    for key, value in given.items():
        if value is not None:
            knobs.insert(flags, key, value)
    tree = knobs.merge(knobs.merge(tree, knobs.parse_assignments(assignments or [])), flags)
    chosen, method_knobs = _method_of(tree, flag=method)
    from finewright import api, terminal

    console = terminal.ErrorConsole()
    listener = terminal.Listener(console)
    console.print(f"[bold]training[/bold] {terminal.clean(data)}", highlight=False)
    try:
        tree = {**tree, "method": method_knobs}
        run = api.train(data, method=chosen, test=test, out=out, knobs=tree, listen=listener, stop=terminal.STOP)
    finally:
        listener.close()
    cli_train.show(run, as_json=as_json)


cli_plan.register(app)
cli_compare.register(app)
cli_export.register(app)


@app.command(epilog="Example: finewright evaluate runs/tickets-lora-seed0 new.csv")
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str, typer.Argument(help="A file with labelled rows.")],
    text_column: Text = None,
    label_column: Label = None,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Measure a run on other labelled rows."""
    from finewright import api, terminal

    knobs = _data_knobs(assignments, text_column=text_column, label_column=label_column)
    measured = api.open_run(run).evaluate(data, knobs=knobs)
    if as_json:
        terminal.print_json(measured)
        return
    console = terminal.OutputConsole()
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
    console.print(terminal.rows_table(["label", "precision", "recall", "F1", "rows"], rows))
    worst = [[w["label"], w["predicted"], f"{w['probability']:.2f}", w["text"][:80]] for w in measured["worst_mistakes"]]
    if worst:
        console.print(terminal.rows_table(["worst mistakes: label", "predicted", "sure", "text"], worst))


@app.command(epilog="Example: finewright predict runs/tickets-lora-seed0 'where is my parcel?'")
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, one a line from standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with texts.")] = None,
    text_column: Text = None,
    as_json: Json = False,
) -> None:
    """Label texts with a run."""
    from finewright import api, data, terminal

    wanted = data.read_texts(file, knobs=_data_knobs(None, text_column=text_column)) if file else texts or terminal.read_lines()
    predictions = api.predict(run, wanted)
    if as_json:
        terminal.print_json({"predictions": predictions})
        return
    rows = [[line["label"], f"{line['probability']:.3f}", line["text"]] for line in predictions]
    terminal.OutputConsole().print(terminal.rows_table(["label", "probability", "text"], rows))


@app.command(epilog="Example: finewright runs show runs/tickets-lora-seed0")
def runs(
    action: Annotated[str | None, typer.Argument(help="`show` for one run.")] = None,
    run: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    root: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs, or show one."""
    from finewright import run as folders
    from finewright import terminal

    if action not in (None, "show") or (action == "show") != (run is not None):
        raise UserError(f"wanted `runs` or `runs show RUN`, found {action!r}", fix="finewright runs show runs/NAME")
    if run is not None:
        folder = folders.open_run(run)
        result = folder.read_json(folder.result)
        if as_json:
            terminal.print_json(result)
        else:
            terminal.OutputConsole().print(terminal.result_table(result))
            choices = folder.read_json(folder.config)["choices"]
            rows = [[choice["knob"], str(choice["value"]), choice["reason"]] for choice in choices]
            terminal.OutputConsole().print(terminal.rows_table(["chosen", "value", "because"], rows))
        return
    found = [_run_line(folder) for folder in folders.list_runs(root)]
    if as_json:
        terminal.print_json({"runs": found})
        return
    rows = [[line["run"], line["state"], line["method"], line["model"], line["accuracy"], line["seconds"]] for line in found]
    terminal.OutputConsole().print(terminal.rows_table(["run", "state", "method", "model", "test accuracy", "seconds"], rows))


@app.command(epilog="Example: finewright methods --json")
def methods(as_json: Json = False) -> None:
    """List the ways of fine-tuning and their knobs."""
    from finewright import methods as ways
    from finewright import terminal

    table = ways.table()
    if as_json:
        terminal.print_json({"methods": table})
        return
    console = terminal.OutputConsole()
    for way in table:
        width = f" for a width of {way['lr_width']}" if way["lr_width"] else ""
        console.print(f"[bold]{way['method']}[/bold]  {way['summary']}; learning rate {way['lr']:g}{width}", highlight=False)
        if rows := [["  " + knob["knob"], knob["default"], knob["help"]] for knob in way["knobs"]]:
            console.print(terminal.rows_table(["  knob", "default", ""], rows))
    console.print("\nSet one with --set, for instance --set method.rank=16. Every other knob: finewright knobs")


@app.command(epilog="Example: finewright knobs")
def knobs(as_json: Json = False) -> None:
    """List the knobs that every way shares."""
    from finewright import terminal
    from finewright.config import Settings, describe

    rows = describe(Settings)
    if as_json:
        terminal.print_json({"knobs": [{"knob": name, "default": default, "help": text} for name, default, text in rows]})
        return
    terminal.OutputConsole().print(terminal.rows_table(["knob", "default", ""], [list(row) for row in rows]))


@app.command(epilog="Example: finewright doctor")
def doctor(as_json: Json = False) -> None:
    """Say what this machine can do, what is missing, and the command that brings it."""
    from finewright import doctor as surgery
    from finewright import terminal

    found = list(surgery.examine())
    if as_json:
        terminal.print_json({"diagnoses": [vars(line) for line in found]})
        return
    rows = [[line.status, line.name, line.detail + (f" → {line.fix}" if line.fix else "")] for line in found]
    terminal.OutputConsole().print(terminal.rows_table(["", "", ""], rows))


def _data_knobs(assignments: list[str] | None, **columns: str | None) -> Any:
    """Knobs of reading data: `--set data.*` and the column flags."""
    from finewright import config

    tree = config.parse_assignments(assignments or [])
    for name, column in columns.items():
        if column is not None:
            config.insert(tree, f"data.{name}", column)
    return config.build(config.Settings, tree).data


def _method_of(tree: dict[str, Any], *, flag: str | None) -> tuple[str, dict[str, Any]]:
    """The way's name (`--method`, or `method.name` in the TOML file) and its knobs, taken out of the tree."""
    knobs = tree.pop("method", {})
    if isinstance(knobs, str):
        knobs = {"name": knobs}
    if not isinstance(knobs, dict):
        raise UserError(
            f"wanted the name of a way, found {knobs!r}", where="method", fix="--method NAME, see `finewright methods`"
        )
    knobs = dict(knobs)
    named = knobs.pop("name", None)
    if not isinstance(named, str | None):
        raise UserError(f"wanted the name of a way, found {named!r}", where="method.name", fix="see `finewright methods`")
    return flag or named or "auto", knobs


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


def main() -> None:
    """Run a command; what a person can repair is one message and an exit code, never a traceback."""
    from finewright import terminal

    terminal.stop_on_signals()
    try:
        app()
    except Interrupted as wish:
        sys.exit(terminal.say_stopped(wish))
    except Exception as error:
        sys.exit(terminal.explain(error))


if __name__ == "__main__":
    main()
