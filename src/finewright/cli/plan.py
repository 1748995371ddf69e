"""The command `plan`: what training would cost."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finewright.cli.arguments import Config, Json, OptionFlags, Quiet, Set, Verbose, choose_verbosity, merge_given, take_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

    from finewright.cli.progress import Verbosity
    from finewright.planning.report import PlanReport

PARTS = ("weights", "gradients", "optimizer", "activations", "other")
OPTIONAL_PARTS = {"trunk": "frozen cache", "loading": "loading"}
"""Parts that few plans have, with their heading: they get a column only if a plan has them."""
SHOWN_FINDINGS = 4
"""Findings in the data that are printed; all of them with --verbose."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: finewright plan tickets.csv --model llama-2-7b --budget 8GB --max-length 512")(plan)


def plan(
    flags: Annotated[dict[str, Any], OptionFlags()],
    data: Annotated[
        str | None, typer.Argument(help="A file, a folder or a hub id; without it a data set is assumed.", show_default=False)
    ] = None,
    method: Annotated[str, typer.Option(help="One method, or all.")] = "all",
    num_labels: Annotated[int, typer.Option(min=2, max=100_000, help="Number of labels if there is no data.")] = 2,
    config: Config = None,
    assignments: Set = None,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Report what training would cost, what fits in memory, and which method to take.

    Only a model's config and tokenizer are fetched. --model also takes a config in the package, such as llama-2-7b.
    """
    from finewright import api
    from finewright.cli.console import ErrorConsole, print_json

    verbosity = choose_verbosity(verbose=verbose, quiet=quiet)
    tree = merge_given(flags, assignments=assignments, config=config)
    chosen, method_options = take_method(tree, flag=None if method == "all" else method)
    console = ErrorConsole()
    with console.status("reading the config") as status:

        def show_traced(method: str, number: int, total: int) -> None:
            status.update(f"tracing a training step: {method} ({number} of {total})")

        report = api.plan(
            data,
            method=chosen,
            num_labels=num_labels,
            options={**tree, "method": method_options},
            on_method=show_traced,
        )
    if as_json:
        print_json(report.as_json())
        return
    from rich.console import Console

    show(report, console=Console(width=None if sys.stdout.isatty() else 120), verbosity=verbosity)


def show(report: "PlanReport", *, console: "Console", verbosity: "Verbosity" = "normal") -> None:
    """Print the plan: a table of methods, memory by parts, what was chosen and why.

    `verbosity`: `quiet` prints the table and the recommendation alone; `verbose` repeats shared reasons for every method.
    """
    from finewright.cli import progress
    from finewright.core.units import format_bytes, format_flops, format_seconds

    if verbosity != "quiet":
        for line in _describe_start(report, verbosity=verbosity):
            progress.print_wrapped(console, line)
        _show_example(report, console=console)
    rows, parts, details = [], [], []
    shown = [
        *PARTS,
        *(part for part in OPTIONAL_PARTS if any(entry.training_plan.plan.memory.get(part) for entry in report.entries)),
    ]
    for entry in report.entries:
        training_plan, cost = entry.training_plan, entry.training_plan.plan
        share = f"{cost.trainable_parameters / cost.total_parameters:.3%}"
        sizes = [format_bytes(cost.peak_memory_bytes), f"{cost.trainable_parameters:,}", share, format_bytes(cost.artifact_bytes)]
        rows.append(
            [cost.method, "yes" if training_plan.fits else "no", *sizes, format_flops(cost.flops), format_seconds(cost.seconds)]
        )
        parts.append([cost.method, *(format_bytes(cost.memory.get(part, 0)) for part in shown)])
        recomputed = ", activations recomputed" if training_plan.setup.gradient_checkpointing else ""
        count = (
            f"{training_plan.setup.num_micro_batches} micro-batches"
            if training_plan.setup.num_micro_batches > 1
            else "one micro-batch"
        )
        setup = f"{count} of {training_plan.setup.pass_tokens:,} tokens per update{recomputed}, {cost.precision}"
        details.append(f"  {cost.method}: {entry.advice or setup}")
    headings = ["method", "fits", "peak memory", "trained", "share", "saved", "FLOPs", "time"]
    console.print(progress.rows_table(*_fit_columns(headings, rows, width=console.width), gap=1))
    if verbosity != "quiet":
        console.print("\n  memory at the peak, by part", highlight=False)
        console.print(progress.rows_table(["method", *(OPTIONAL_PARTS.get(part, part) for part in shown)], parts, gap=1))
        console.print()
        for line in details:
            console.print(line, highlight=False, soft_wrap=True)
        console.print("\n  values chosen automatically, and why", highlight=False)
        for line in _describe_choices(report, verbosity=verbosity):
            progress.print_wrapped(console, line)
    if any(entry.training_plan.schedule.may_stop_early for entry in report.entries):
        console.print("\n  these times are the most: a run stops early when validation no longer improves", highlight=False)
    if report.trials is not None:
        console.print(f"\n  {report.trials.describe()}; --method auto trains the best one", highlight=False, soft_wrap=True)
    if report.recommended:
        console.print(
            f"\n  {'otherwise ' if report.trials else ''}take [bold]{report.recommended}[/bold]: {report.reason}",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(f"\n  {report.reason}", highlight=False, soft_wrap=True)


def _show_example(report: "PlanReport", *, console: "Console") -> None:
    """Print a training text with what is trained of it, if tokens are the targets."""
    if report.example:
        console.print("  a training text; what is trained of it is marked:", highlight=False)
        console.print(mark_trained(report.example, colored=console.is_terminal and not console.no_color), soft_wrap=True)


def mark_trained(pieces: "Sequence[tuple[str, bool]]", *, colored: bool) -> "Text":
    """Return a text with what is trained of it in green, or between ⟦ and ⟧ where there are no colours."""
    from rich.text import Text

    from finewright.cli.console import clean

    shown = Text("    ")
    for text, trained in pieces:
        text = clean(text).replace("\n", "\n    ")
        mark = trained and not colored
        shown.append(f"⟦{text}⟧" if mark else text, style="bold green" if trained else "dim")
    return shown


def _describe_start(report: "PlanReport", *, verbosity: "Verbosity") -> list[str]:
    """Return what is said before the table: notes, findings in the data, the budget."""
    from finewright.core.units import counted, format_bytes

    shown = len(report.findings) if verbosity == "verbose" else SHOWN_FINDINGS
    lines = [*report.notes]
    lines += [f"{finding.severity}: {finding.message} → {finding.fix}" for finding in report.findings[:shown]]
    if (more := len(report.findings) - shown) > 0:
        lines.append(f"{counted(more, 'more finding')} in the data: --verbose shows all")
    return [*lines, f"budget {format_bytes(report.budget.num_bytes)}: {report.budget.reason}"]


def _describe_choices(report: "PlanReport", *, verbosity: "Verbosity") -> list[str]:
    """Return a line for each automatic choice; `verbose`: for each method, else methods of one reason share a line."""
    from finewright.planning.report import describe_decisions

    made = [(entry.training_plan.plan.method, entry.training_plan.choices) for entry in report.entries]
    if verbosity == "verbose":
        return [f"{method}: {line}" for method, choices in made for line in choices.sentences()]
    return describe_decisions([(method, choices.made) for method, choices in made])


def _fit_columns(headings: list[str], rows: list[list[str]], *, width: int) -> tuple[list[str], list[list[str]]]:
    """Drop columns, the least needed first, until the table fits the terminal without folding."""
    for name in ("share", "saved", "FLOPs", "trained", "time"):
        if sum(2 + max(map(len, column)) for column in zip(headings, *rows, strict=True)) <= width:
            break
        place = headings.index(name)
        headings, *rows = ([*row[:place], *row[place + 1 :]] for row in (headings, *rows))
    return headings, rows
