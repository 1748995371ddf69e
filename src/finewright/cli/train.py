"""The command `train`: start or resume a run, and show its result."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import (
    Config,
    Json,
    OptionFlags,
    Quiet,
    Set,
    Verbose,
    choose_verbosity,
    merge_given,
    take_method,
)
from finewright.core.errors import UserError
from finewright.core.events import StageStarted

if TYPE_CHECKING:
    from finewright.cli.progress import Verbosity
    from finewright.runs.run import Run


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright train tickets.csv --model gpt2 --method lora --set method.rank=8")(train)


def train(
    flags: Annotated[dict[str, Any], OptionFlags()],
    data: Annotated[
        str | None, typer.Argument(help="A file, a folder with train.*, validation.*, test.*, or a hub id.", show_default=False)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Fine-tuning method or baseline, see `finewright methods`. [default: auto]")
    ] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Train the model of a finished run further; as --model RUN.")
    ] = None,
    test: Annotated[str | None, typer.Option(help="File with the test rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/NAME]")] = None,
    config: Config = None,
    assignments: Set = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Resume an unfinished run; takes no DATA.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--change", metavar="OPTION=VALUE", help="With --resume: change learning_rate, epochs etc.; it is recorded."
        ),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune on texts with labels, numbers or marked words, on answers or preferences, and verify the result.

    The same command again resumes an unfinished run.
    """
    from finewright.cli.console import clean

    verbosity = choose_verbosity(verbose=verbose, quiet=quiet)
    if resume is not None or data is None or changes:
        given = [data, method, from_run, test, out, config, assignments, *flags.values()]
        show(resume_run(resume, given=given, changes=changes, verbosity=verbosity), as_json=as_json)
        return
    if from_run is not None:
        flags = {**flags, "model": _name_run(from_run, model=flags.get("model"))}
    tree = merge_given(flags, assignments=assignments, config=config)
    chosen, method_options = take_method(tree, flag=method)
    options = {**tree, "method": method_options}
    run = _call_with_progress(
        f"[bold]training[/bold] {clean(data)}",
        lambda api, **extra: api.train(data, method=chosen, test=test, output_dir=out, options=options, **extra),
        verbosity=verbosity,
    )
    show(run, as_json=as_json)


def _name_run(run: Path, *, model: str | None) -> str:
    """Return the name of the model of a run. Raise `UserError` if it is none, or a model is given too."""
    if model is not None and model != str(run):
        raise UserError("--from and --model both name the model to start from", where="--from", fix="give one of them")
    if not (run / "checks.json").is_file() and not (run.parent / "checks.json").is_file():
        raise UserError("no run here", where=str(run), fix="the folder of a finished run; `finewright runs` lists them")
    return str(run)


def resume_run(
    run: Path | None, *, given: Sequence[Any], changes: Sequence[str] | None, verbosity: "Verbosity" = "normal"
) -> "Run":
    """Resume a run and return it. `given`: the command's other arguments, all None: a run knows its own data and options."""
    if run is None and changes:
        raise UserError(f"--change {changes[0]} is given without a run", where="--change", fix="--resume RUN in place of DATA")
    if run is None:
        raise UserError("wanted DATA to train on, or --resume RUN to resume", fix="finewright train tickets.csv")
    if any(value is not None for value in given):
        what = "--resume keeps the run's own data and options; nothing else can be given with it"
        fix = "--change OPTION=VALUE for what may change inside a run, such as --change learning_rate=1e-4"
        raise UserError(what, where=str(run), fix=fix)
    from finewright.cli.console import clean

    return _call_with_progress(
        f"[bold]resuming[/bold] {clean(str(run))}",
        lambda api, **extra: api.resume(run, changes=changes or (), **extra),
        verbosity=verbosity,
    )


def _call_with_progress(title: str, call: Callable[..., "Run"], *, verbosity: "Verbosity") -> "Run":
    """Return what `call` returns; it gets `finewright.api`, the event handler and the stop request that go with a terminal."""
    from finewright.cli import signals
    from finewright.cli.console import ErrorConsole
    from finewright.cli.progress import ProgressDisplay

    console = ErrorConsole()
    display = ProgressDisplay(console, verbosity=verbosity)
    console.print(title, highlight=False, soft_wrap=True)
    try:
        display(StageStarted("start"))  # importing takes seconds
        from finewright import api

        return call(api, callbacks=[display], stop=signals.STOP)
    finally:
        display.close()


def show(run: "Run", *, as_json: bool) -> None:
    """Show the result of a finished run and what to do next."""
    from finewright.cli.console import ErrorConsole, print_json
    from finewright.cli.result_card import print_result_card
    from finewright.runs import schema

    if as_json:
        print_json({"run": str(run.path), **schema.dump(run.result)})
        return
    print_result_card(ErrorConsole(), run.result, path=run.path)
