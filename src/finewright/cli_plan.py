"""The commands about cost: what a run would take."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="One machine-readable object on standard output; all else on standard error.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any knob by its dotted name.")]
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
    batch_tokens: Annotated[int | None, typer.Option(help="Tokens per forward pass.")] = None,
    num_labels: Annotated[int, typer.Option(min=2, max=100_000, help="Labels, when there is no data.")] = 2,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Say what training would cost, what fits, and which way to take; of a model only config and tokenizer are fetched."""
    from finewright import api, config, terminal

    tree = config.parse_assignments(assignments or [])
    given = {"model": model, "budget": budget, "data.max_length": max_length, "train.batch_tokens": batch_tokens}
    for key, value in given.items():
        if value is not None:
            config.insert(tree, key, value)
    name = str(tree.pop("model", config.DEFAULT_MODEL))
    console = terminal.ErrorConsole()
    with console.status("reading the config") as status:

        def looking(way: str, number: int, total: int) -> None:
            status.update(f"tracing a training step: {way} ({number} of {total})")

        found = api.plan(data, model=name, method=method, num_labels=num_labels, knobs=tree, looking=looking)
    if as_json:
        terminal.print_json({"model": name, **found.as_json()})
        return
    _show(found, console=Console(width=None if sys.stdout.isatty() else 120))


def _show(found: Any, *, console: Console) -> None:
    from finewright import terminal
    from finewright.memory import in_words

    for note in found.notes:
        console.print(f"  {terminal.clean(note)}", highlight=False, soft_wrap=True)
    console.print(f"  budget {in_words(found.budget.num_bytes)}: {found.budget.reason}", highlight=False, soft_wrap=True)
    rows, parts, details = [], [], []
    shown = [*PARTS, *(part for part in SELDOM if any(entry.forecast.plan.memory.get(part) for entry in found.entries))]
    for entry in found.entries:
        made, cost = entry.forecast, entry.forecast.plan
        share = f"{cost.trainable_parameters / cost.total_parameters:.3%}"
        sizes = [in_words(cost.peak_memory_bytes), f"{cost.trainable_parameters:,}", share, in_words(cost.artifact_bytes)]
        rows.append([cost.method, "yes" if made.fits else "no", *sizes, in_flops(cost.flops), in_time(cost.seconds)])
        parts.append([cost.method, *(in_words(cost.memory.get(part, 0)) for part in shown)])
        twice = ", blocks computed twice" if made.setup.checkpoint_activations else ""
        passes = f"{made.setup.num_passes} passes" if made.setup.num_passes > 1 else "one pass"
        setup = f"{passes} of {made.setup.pass_tokens:,} tokens an update{twice}, {cost.precision}"
        details.append(f"  {cost.method}: {entry.advice or setup}")
    headings = ["way", "fits", "peak memory", "trained", "share", "saved", "FLOPs", "time"]
    console.print(terminal.rows_table(*_narrowed(headings, rows, width=console.width), gap=1))
    console.print("\n  where the memory goes at the peak", highlight=False)
    console.print(terminal.rows_table(["way", *shown], parts, gap=1))
    console.print()
    for line in details:
        console.print(line, highlight=False, soft_wrap=True)
    console.print("\n  what was left open, and why it is so", highlight=False)
    for line in chosen([(entry.forecast.plan.method, entry.forecast.choices.made) for entry in found.entries]):
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


def chosen(made: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """`knob = value: reason` for what was left open, ways of the same reason together; `made`: every way's choices."""
    knobs: dict[str, dict[str, dict[str, list[str]]]] = {}
    for way, choices in made:
        for choice in choices:
            reasons = knobs.setdefault(choice["knob"], {})
            reasons.setdefault(choice["reason"], {}).setdefault(_value(choice["value"]), []).append(way)
    lines = []
    for knob, reasons in knobs.items():
        for reason, values in reasons.items():
            some = sum(map(len, values.values())) < len(made) or len(values) > 1
            shown = "; ".join(f"{value} ({', '.join(ways)})" if some else value for value, ways in values.items())
            lines.append(f"{knob} = {shown}: {reason}")
    return lines


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def in_flops(count: float) -> str:
    """Floating-point operations with one unit: `812 G`, `3.1 P`."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12)):
        if count >= size:
            return f"{count / size:,.0f} {unit}" if count >= 100 * size else f"{count / size:.1f} {unit}"
    return f"{count / 1e9:.0f} G"


def in_time(seconds: float) -> str:
    """A span of time with one unit: `40 s`, `12 min`, `3.1 h`, `12 days`."""
    for unit, size in (("days", 86_400 * 2), ("h", 3600 * 2), ("min", 120)):
        if seconds >= size:
            return f"{seconds / (size / 2):,.1f} {unit}" if seconds < 10 * size else f"{seconds / (size / 2):,.0f} {unit}"
    return f"{seconds:.0f} s"
