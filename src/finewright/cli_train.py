"""What `finewright train` needs besides its flags: going on with a run, and showing a finished one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finewright.errors import UserError


def go_on(run: Path | None, *, given: Sequence[Any], changes: Sequence[str] | None) -> Any:
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
    from finewright import api, terminal

    console = terminal.ErrorConsole()
    listener = terminal.Listener(console)
    console.print(f"[bold]going on[/bold] with {terminal.clean(str(run))}", highlight=False)
    try:
        return api.resume(run, changes=changes or (), listen=listener, stop=terminal.STOP)
    finally:
        listener.close()


def show(run: Any, *, as_json: bool) -> None:
    """A finished run: the table of its result and what to do next."""
    from finewright import metrics, terminal

    console, result = terminal.ErrorConsole(), vars(run.result)
    if as_json:
        terminal.print_json({"run": str(run.path), **result})
        return
    console.print(terminal.result_table(result))
    measured = result["metrics"].get("test")
    if measured and not metrics.better_than_majority(measured):
        console.print(
            f"  no better than always saying the majority class ({measured['majority_accuracy']:.1%});", highlight=False
        )
        console.print("  half the learning rate (--lr), more passes (--epochs) or more rows may get it away from there")
    console.print(
        f"\n  run     {run.path}\n  next    finewright predict {run.path} 'a text of yours'", highlight=False, soft_wrap=True
    )
