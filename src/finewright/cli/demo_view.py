"""The demo in a terminal: what it starts with, its numbers as bars, and what to do next."""

from typing import TYPE_CHECKING

from rich.console import Console

from finewright import baselines, methods
from finewright.baselines import majority
from finewright.cli import compare_view
from finewright.cli.console import clean, draw_bar, is_plain
from finewright.cli.demo import DATA, FEW_ROWS, demo_methods
from finewright.cli.progress import print_wrapped, rows_table
from finewright.comparison import spec
from finewright.core.program import program_name, quote_path
from finewright.core.units import format_bytes

if TYPE_CHECKING:
    from finewright.cli.demo import DemoResult

BAR_WIDTH = 32


def describe_start(*, every_method: bool) -> str:
    """Return what the demo is about to do."""
    where = "Model and data are part of the package, nothing leaves this machine."
    if every_method:
        return f"{where}\n{DATA.name}: {len(demo_methods())} methods on all rows."
    what = f"{FEW_ROWS} labelled ones to learn from, 126 to choose the best step by, 300 to test on"
    return f"{where}\nHelp-desk messages with one of 7 labels: {what}."


def show_few_rows(demo: "DemoResult", console: Console) -> None:
    """Print the accuracy of each way to use the few rows as a bar, what was trained, predictions, and what is next."""
    results, result = demo.comparison.file, demo.run.result
    plain = is_plain(console)
    tested = f"{result.num_test:,} messages that none of them saw"
    console.print(f"\nright answers on {tested}, after training on {FEW_ROWS}", highlight=False)
    rows = [row for row in results.measured if row.accuracy is not None]
    for row in sorted(rows, key=lambda row: row.accuracy or 0.0):
        accuracy, title = row.accuracy or 0.0, _title_of(row.method)
        line = f"  {title:<37}  {draw_bar(accuracy, width=BAR_WIDTH, plain=plain)} {accuracy:.1%}"
        console.print(f"[bold]{clean(line)}[/bold]" if row.method == result.method else clean(line), highlight=False)
    shares = f"{result.trainable_parameters:,} of {result.total_parameters:,} parameters ({result.trainable_fraction:.2%})"
    print_wrapped(
        console,
        f"{result.method} trained {shares} in {result.train_seconds:.0f} s and saved {format_bytes(result.artifact_bytes)}.",
    )
    _show_predictions(demo, console)
    program = program_name()
    _show_commands(
        console,
        {
            "try": f"{program} predict {quote_path(demo.run.path)} 'a message of yours'",
            "your data": f"{program} train your.csv",
            "all methods": f"{program} demo --methods",
            "report": str(demo.comparison.page),
        },
    )


def show_methods(demo: "DemoResult", console: Console) -> None:
    """Print the comparison of all methods, predictions of one, where everything is, and what is next."""
    compare_view.show(demo.comparison.file, console)
    _show_predictions(demo, console)
    program = program_name()
    _show_commands(
        console,
        {
            "try": f"{program} predict {quote_path(demo.run.path)} 'a message of yours'",
            "your data": f"{program} compare your.csv",
            "picture": str(demo.picture),
            "report": str(demo.comparison.page),
            "runs": str(demo.folder / "runs"),
        },
    )


def _title_of(name: str) -> str:
    """Return what a method or baseline does, in a few words."""
    if name == majority.NAME:
        return majority.SUMMARY
    if name in spec.BASELINES:
        return baselines.get_baseline(name).title
    random = methods.get_method(name).weights == "random"
    return "the same network, from random weights" if random else f"fine-tuned with {name}"


def _show_predictions(demo: "DemoResult", console: Console) -> None:
    console.print(f"\n{demo.run.result.method} predicts:", highlight=False)
    rows = [[str(line["label"]), f"{line['probability']:.2f}", line["text"]] for line in demo.predictions]
    console.print(rows_table(["label", "probability", "message"], rows))


def _show_commands(console: Console, commands: dict[str, str]) -> None:
    console.print()
    width = max(map(len, commands))
    for name, command in commands.items():
        console.print(f"  {name:<{width}}  {command}", highlight=False, markup=False, soft_wrap=True)
