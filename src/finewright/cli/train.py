"""The command `train`: begin a run or go on with one, and show what came of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from finewright.cli.arguments import Json, Label, Set, Text, method_of
from finewright.core.errors import UserError


def register(app: typer.Typer) -> None:
    """Put the commands of this file on the program."""
    app.command(epilog="Example: finewright train tickets.csv --model gpt2 --method lora --set method.rank=8")(train)


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
        show(resume_run(resume, given=[*given, force or None], changes=changes), as_json=as_json)
        return
    from finewright.core.config import merge_options, parse_assignments, read_toml, set_option

    tree = read_toml(config) if config else {}
    given = {"model": model, "seed": seed, "training.epochs": epochs, "training.learning_rate": lr}
    given |= {"data.text_column": text_column, "data.label_column": label_column, "memory_budget": budget, "force": force or None}
    flags: dict[str, Any] = {}
    for key, value in given.items():
        if value is not None:
            set_option(flags, key, value)
    tree = merge_options(merge_options(tree, parse_assignments(assignments or [])), flags)
    chosen, method_options = method_of(tree, flag=method)
    from finewright import api
    from finewright.cli import progress, signals
    from finewright.cli.console import ErrorConsole, clean

    console = ErrorConsole()
    listener = progress.Listener(console)
    console.print(f"[bold]training[/bold] {clean(data)}", highlight=False)
    try:
        tree = {**tree, "method": method_options}
        run = api.train(data, method=chosen, test=test, output_dir=out, options=tree, callbacks=[listener], stop=signals.STOP)
    finally:
        listener.close()
    show(run, as_json=as_json)


def resume_run(run: Path | None, *, given: Sequence[Any], changes: Sequence[str] | None) -> Any:
    """The finished run. `given`: what else stands in the command; a run knows its own data and knobs."""
    if run is None and changes:
        raise UserError(f"--change {changes[0]} wants the run to change", where="--change", fix="--resume RUN in place of DATA")
    if run is None:
        raise UserError("wanted DATA to train on, or --resume RUN to go on", fix="finewright train tickets.csv")
    if any(value is not None for value in given):
        what = "--resume goes on with what the run was asked for; nothing else can be given with it"
        raise UserError(
            what, where=str(run), fix="--change KNOB=VALUE for what may change inside a run, such as --change lr=1e-4"
        )
    from finewright import api
    from finewright.cli import progress, signals
    from finewright.cli.console import ErrorConsole, clean

    console = ErrorConsole()
    listener = progress.Listener(console)
    console.print(f"[bold]going on[/bold] with {clean(str(run))}", highlight=False)
    try:
        return api.resume(run, changes=changes or (), callbacks=[listener], stop=signals.STOP)
    finally:
        listener.close()


def show(run: Any, *, as_json: bool) -> None:
    """A finished run: the table of its result and what to do next."""
    from finewright.cli import progress
    from finewright.cli.console import ErrorConsole, print_json
    from finewright.tasks import metrics

    console, result = ErrorConsole(), vars(run.result)
    if as_json:
        print_json({"run": str(run.path), **result})
        return
    console.print(progress.result_table(result))
    measured = result["metrics"].get("test")
    if measured and not metrics.is_better_than_majority(measured):
        console.print(
            f"  no better than always saying the majority class ({measured['majority_accuracy']:.1%});", highlight=False
        )
        console.print("  half the learning rate (--lr), more passes (--epochs) or more rows may get it away from there")
    console.print(
        f"\n  run     {run.path}\n  next    finewright predict {run.path} 'a text of yours'", highlight=False, soft_wrap=True
    )
