"""The command that hands a finished model on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from finewright.exporters.merge import BaseKind, Merged
    from finewright.exporters.verification import MergeChange


def register(app: typer.Typer) -> None:
    """Put the commands of this file on the program."""
    app.command(epilog="Example: finewright export runs/tickets-lora-seed0")(export)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where the merged model goes. [default: RUN/merged]")] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="dequantised|published",
            help="After training in four bits: merge into those weights written out, or into the published ones. "
            "[default: what changes the scores least]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One machine-readable object on standard output.")] = False,
) -> None:
    """Merge a run's adapter into its base, and say what that changed on the test rows."""
    from finewright.cli.console import OutputConsole, print_json
    from finewright.exporters import merge
    from finewright.runs import folder

    chosen = cast("BaseKind | None", base)  # what it may be is told by the room, with the way out
    merged = merge.export_merged(folder.open_run(run), out=out, base=chosen)
    if as_json:
        print_json(merged.as_json())
        return
    console = OutputConsole()
    lines = [f"merged model      {merged.folder}"]
    if merged.quantised:
        lines.append(f"base              {merged.change.base}: {merged.reason}")
    lines += _lines(merged, merged.change)
    if merged.other is not None:
        lines += [f"the {merged.other.base} base instead:", *_lines(merged, merged.other)]
    if merged.quantised and not merged.exact:
        lines.append("The adapter was trained on a base in four bits; in the full-precision base it meets other weights.")
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def _lines(merged: "Merged", change: "MergeChange") -> list[str]:
    """What merging into one base changed."""
    before, after = merged.accuracy_before, change.accuracy_after
    return [
        f"scores            differ by at most {change.largest_difference:.2e}",
        f"labels            {change.changed} of {merged.num_rows:,} test rows changed",
        f"test accuracy     {before:.1%} before, {after:.1%} after ({100 * (after - before):+.1f} points)",
    ]
