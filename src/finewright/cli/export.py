"""The command `export`: write a finished model for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from finewright.cli.arguments import Json

if TYPE_CHECKING:
    from finewright.exporters.merge import Merged
    from finewright.exporters.verification import BaseKind, MergeChange


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright export runs/tickets-lora-seed0")(export)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the merged model. [default: RUN/merged]")] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="dequantised|published",
            help="After 4-bit training: merge into the dequantised weights or into the published ones. "
            "[default: what changes the scores least]",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge a run's adapter into its base model, and report what that changes on the test rows."""
    from finewright.cli.console import ErrorConsole, OutputConsole, clean, print_json

    status = ErrorConsole()
    status.print(f"[bold]exporting[/bold] {clean(str(run))}", highlight=False, soft_wrap=True)
    with status.status("merging the adapter into its base, then scoring the test rows before and after"):
        from finewright import api

        merged = api.export(run, output_dir=out, base=cast("BaseKind | None", base))  # `export` checks the base
    if as_json:
        print_json(merged.as_json())
        return
    console = OutputConsole()
    lines = [f"merged model      {merged.folder}"]
    if merged.quantised:
        lines.append(f"base              {merged.change.base}: {merged.reason}")
    lines += _describe_change(merged, merged.change)
    if merged.other is not None:
        lines += [f"the {merged.other.base} base instead:", *_describe_change(merged, merged.other)]
    if merged.quantised and not merged.exact:
        lines.append("The adapter was trained on a 4-bit base; the weights of the full-precision base are slightly different.")
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def _describe_change(merged: "Merged", change: "MergeChange") -> list[str]:
    """Describe what merging into one base changed."""
    before, after, metric = merged.metric_before, change.metric_after, merged.metric
    lines = [f"scores            differ by at most {change.largest_difference:.2e}"]
    if change.changed is not None:
        lines.append(f"labels            {change.changed} of {merged.num_rows:,} test rows changed")
    points = f" ({100 * (after - before):+.1f} points)" if metric.is_share else ""
    lines.append(f"{f'test {metric.name}':<18}{metric.format(before)} before, {metric.format(after)} after{points}")
    return lines
