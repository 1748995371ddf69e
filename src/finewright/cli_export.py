"""The command that hands a finished model on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def register(app: typer.Typer) -> None:
    """Put the commands of this file on the program."""
    app.command(epilog="Example: finewright export runs/tickets-lora-seed0")(export)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where the merged model goes. [default: RUN/merged]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One machine-readable object on standard output.")] = False,
) -> None:
    """Merge a run's adapter into its base, and say what that changed on the test rows."""
    from finewright import export as room
    from finewright import run as runs
    from finewright import terminal

    merged = room.merge(runs.open_run(run), out=out)
    if as_json:
        terminal.print_json(merged.as_json())
        return
    console = Console()
    console.print(f"  merged model      {merged.folder}", highlight=False, soft_wrap=True)
    console.print(f"  scores            differ by at most {merged.largest_difference:.2e}", highlight=False)
    console.print(f"  labels            {merged.changed} of {merged.num_rows:,} test rows changed", highlight=False)
    before, after = merged.accuracy_before, merged.accuracy_after
    console.print(
        f"  test accuracy     {before:.1%} before, {after:.1%} after ({100 * (after - before):+.1f} points)", highlight=False
    )
    if not merged.exact:
        console.print(
            "  The adapter was trained on a base in four bits; in the full-precision base it meets other weights.",
            highlight=False,
        )
