"""The commands about cost: what a run would take."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from finewright.cli.arguments import Json, Set
from finewright.core.units import format_flops, format_seconds

PARTS = ("weights", "gradients", "optimizer", "activations", "other")
SELDOM = ("trunk", "loading")
"""Parts that few plans have; a column for one that none has would only make the table wider."""


def register(app: typer.Typer) -> None:
    """Put the commands of this file on the program."""
    app.command(epilog="Example: finewright plan tickets.csv --model llama-2-7b --budget 8GB --max-length 512")(plan)


def plan(
    data: Annotated[str | None, typer.Argument(help="A file, a folder or a hub id; without it texts are assumed.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id, local folder, or a shape in the package such as llama-2-7b.")] = None,
    method: Annotated[str, typer.Option(help="One way, or all.")] = "all",
    budget: Annotated[str | None, typer.Option(help="Memory that may be taken, such as 8GB. [default: what is free]")] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest text in tokens.")] = None,
    tokens_per_micro_batch: Annotated[int | None, typer.Option("--batch-tokens", help="Tokens per forward pass.")] = None,
    num_labels: Annotated[int, typer.Option(min=2, max=100_000, help="Labels, when there is no data.")] = 2,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Say what training would cost, what fits, and which way to take; of a model only config and tokenizer are fetched."""
    from finewright import api
    from finewright.cli.console import ErrorConsole, print_json
    from finewright.core import config

    tree = config.parse_assignments(assignments or [])
    given = {
        "model": model,
        "memory_budget": budget,
        "data.max_length": max_length,
        "training.tokens_per_micro_batch": tokens_per_micro_batch,
    }
    for key, value in given.items():
        if value is not None:
            config.set_option(tree, key, value)
    name = str(tree.pop("model", config.DEFAULT_MODEL))
    console = ErrorConsole()
    with console.status("reading the config") as status:

        def looking(way: str, number: int, total: int) -> None:
            status.update(f"tracing a training step: {way} ({number} of {total})")

        found = api.plan(data, model=name, method=method, num_labels=num_labels, options=tree, looking=looking)
    if as_json:
        print_json({"model": name, **found.as_json()})
        return
    _show(found, console=Console(width=None if sys.stdout.isatty() else 120))


def _show(found: Any, *, console: Console) -> None:
    from finewright.cli import progress
    from finewright.cli.console import clean
    from finewright.core.units import format_bytes

    for note in found.notes:
        console.print(f"  {clean(note)}", highlight=False, soft_wrap=True)
    console.print(f"  budget {format_bytes(found.budget.num_bytes)}: {found.budget.reason}", highlight=False, soft_wrap=True)
    rows, parts, details = [], [], []
    shown = [*PARTS, *(part for part in SELDOM if any(entry.training_plan.plan.memory.get(part) for entry in found.entries))]
    for entry in found.entries:
        made, cost = entry.training_plan, entry.training_plan.plan
        share = f"{cost.trainable_parameters / cost.total_parameters:.3%}"
        sizes = [format_bytes(cost.peak_memory_bytes), f"{cost.trainable_parameters:,}", share, format_bytes(cost.artifact_bytes)]
        rows.append([cost.method, "yes" if made.fits else "no", *sizes, format_flops(cost.flops), format_seconds(cost.seconds)])
        parts.append([cost.method, *(format_bytes(cost.memory.get(part, 0)) for part in shown)])
        twice = ", blocks computed twice" if made.setup.gradient_checkpointing else ""
        passes = f"{made.setup.num_passes} passes" if made.setup.num_passes > 1 else "one pass"
        setup = f"{passes} of {made.setup.pass_tokens:,} tokens an update{twice}, {cost.precision}"
        details.append(f"  {cost.method}: {entry.advice or setup}")
    headings = ["way", "fits", "peak memory", "trained", "share", "saved", "FLOPs", "time"]
    console.print(progress.rows_table(*_narrowed(headings, rows, width=console.width), gap=1))
    console.print("\n  where the memory goes at the peak", highlight=False)
    console.print(progress.rows_table(["way", *shown], parts, gap=1))
    console.print()
    for line in details:
        console.print(line, highlight=False, soft_wrap=True)
    console.print("\n  what was left open, and why it is so", highlight=False)
    from finewright.planning.report import describe_decisions

    for line in describe_decisions(
        [(entry.training_plan.plan.method, entry.training_plan.choices.made) for entry in found.entries]
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    if found.recommended:
        console.print(f"\n  take [bold]{found.recommended}[/bold]: {found.reason}", highlight=False, soft_wrap=True)
    else:
        console.print(f"\n  {found.reason}", highlight=False, soft_wrap=True)


def _narrowed(headings: list[str], rows: list[list[str]], *, width: int) -> tuple[list[str], list[list[str]]]:
    """The columns that a terminal has room for: those that others tell, or fewer people ask for, go first; none is folded."""
    for name in ("share", "saved", "FLOPs", "trained", "time"):
        if sum(2 + max(map(len, column)) for column in zip(headings, *rows, strict=True)) <= width:
            break
        place = headings.index(name)
        headings, *rows = ([*row[:place], *row[place + 1 :]] for row in (headings, *rows))
    return headings, rows
