"""A comparison in a terminal: progress, the table, a plot in characters."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from finewright.cli.console import clean, draw_bar, is_plain
from finewright.cli.progress import ProgressDisplay, print_wrapped
from finewright.core.events import DownloadProgress, Notice, RunFinished, RunProgress, RunStarted
from finewright.core.program import localize_commands
from finewright.core.units import format_bytes

if TYPE_CHECKING:
    from finewright.cli.progress import Verbosity
    from finewright.comparison.compare import Comparison
    from finewright.comparison.schema import ComparisonResultsFile, CurveRow, MethodRow

PLOT_WIDTH = 48
_SECONDS_BETWEEN_LINES = 15


class ComparisonDisplay:
    """Handles the events of a comparison: a line for each finished run, a bar for each run in progress.

    `verbosity`: `quiet` prints warnings and failed runs alone.
    """

    def __init__(self, console: Console, *, verbosity: "Verbosity" = "normal") -> None:
        self.console, self.verbosity = console, verbosity
        self._downloads = ProgressDisplay(console, verbosity=verbosity)
        columns = [TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"), TimeElapsedColumn()]
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal or verbosity == "quiet")
        self._running: dict[str, TaskID] = {}
        self._printed_at = time.monotonic()

    def __call__(self, event: Any) -> None:
        """Handle one event."""
        match event:
            case Notice(level=level) if level != "warning" and self.verbosity == "quiet":
                pass
            case Notice():
                self.console.print(f"  {clean(localize_commands(str(event)))}", highlight=False, soft_wrap=True)
            case DownloadProgress():
                self._downloads(event)
            case RunStarted(name=name):
                self._bars.start()
                self._running[name] = self._bars.add_task(clean(name), total=None, detail="loading")
            case RunProgress():
                self._show_step(event)
            case RunFinished():
                self._show_finished(event)

    def _show_finished(self, event: RunFinished) -> None:
        if event.name in self._running:
            self._bars.remove_task(self._running.pop(event.name))
        if self.verbosity == "quiet" and not event.failed:
            return
        text = f"[red]failed:[/red] {clean(event.message.splitlines()[0])}" if event.failed else clean(event.message)
        line = f"  {event.number} of {event.total}  {clean(event.name)}  {text}"
        self.console.print(line.rstrip(), highlight=False, soft_wrap=True)
        self._printed_at = time.monotonic()

    def _show_step(self, event: RunProgress) -> None:
        detail = f"step {event.step}/{event.num_steps}"
        if event.name in self._running:
            self._bars.update(self._running[event.name], completed=event.step, total=event.num_steps, detail=detail)
        if self.verbosity == "quiet":
            return
        if not self.console.is_terminal and time.monotonic() - self._printed_at > _SECONDS_BETWEEN_LINES:
            self._printed_at = time.monotonic()
            self.console.print(f"  {clean(event.name)}  {detail}", highlight=False)

    def close(self) -> None:
        """Remove the bars."""
        self._downloads.close()
        self._bars.stop()


def show(results: "ComparisonResultsFile", console: Console) -> None:
    """Print the score by training rows if several numbers were tried, the table, the plot, what was left out, and the verdict."""
    for line in learning_curve(results.curve, words=results.metric_words, plain=is_plain(console)):
        console.print(line, highlight=False, markup=False)
    console.print(_table(results))
    console.print()
    for line in plot(results.measured):
        console.print(line, highlight=False, markup=False)
    for row in results.methods:
        if row.message:
            console.print(f"\n{clean(row.method)}: {clean(localize_commands(row.message))}", highlight=False, soft_wrap=True)
    for note in results.notes:
        console.print(f"\n{clean(note)}", highlight=False)
    for sentence in results.verdict_sentences:
        console.print(f"\n[bold]{clean(sentence)}[/bold]", highlight=False)


def show_choices(comparison: "Comparison", console: Console) -> None:
    """Print every automatic choice of the runs, with its reason: those of the first run of each method."""
    from finewright.planning.report import describe_decisions
    from finewright.runs import schema
    from finewright.runs.folder import RunFolder

    made = []
    for row in comparison.methods:
        if row.runs:
            config = schema.read(schema.RunConfigFile, RunFolder(comparison.path / row.runs[0]).config)
            made.append((row.method, [choice.model_dump() for choice in config.choices]))
    console.print("\nvalues chosen automatically, and why", highlight=False)
    for line in describe_decisions(made):
        print_wrapped(console, line)


def learning_curve(rows: "Sequence[CurveRow]", *, words: str = "accuracy", plain: bool = False) -> list[str]:
    """Draw the score of every method as a bar for each number of training rows. Return nothing for one number.

    `words`: what the score is called. `plain`: ASCII alone.
    """
    sizes = sorted({row.num_train for row in rows if row.num_train})
    if len(sizes) < 2:
        return []
    names = max(len(row.method) for row in rows)
    digits = max(len(f"{size:,}") for size in sizes)
    width = min(PLOT_WIDTH, 76 - names - digits - 9)
    lines = [f"  {words} on the test rows, by training rows" if " " in words else f"  test {words} by training rows"]
    for method in dict.fromkeys(row.method for row in rows):
        found = sorted((row.num_train or 0, row.score) for row in rows if row.method == method and row.num_train)
        for number, (size, score) in enumerate(found):
            bar = draw_bar(score, width=width, plain=plain)
            lines.append(f"  {clean(method) if number == 0 else '':<{names}}  {size:>{digits},}  {bar} {score:.1%}")
    return [*lines, ""]


def _table(results: "ComparisonResultsFile") -> Table:
    """Return a table that fits 80 columns. Without labels it has the loss in place of macro F1."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    second, form = ("macro F1", ".1%") if results.data.labels else ("loss", ".3f")
    own = results.has_classes
    headings = ("method", results.metric_words, "95% interval", second, "trained", "seconds", "MB peak", "saved")
    for number, heading in enumerate(headings):
        wraps = heading.startswith(("macro", "MB")) or (number == 1 and " " in heading)
        table.add_column(heading, justify="right" if number else "left", no_wrap=not wraps)
    for row in results.measured:
        low, high = row.score_ci95 or (0.0, 0.0)
        table.add_row(
            clean(row.method),
            _format_or_empty(row.score, 1, ".1%"),
            f"{100 * low:.1f} – {100 * high:.1f}",
            _format_or_empty(row.macro_f1 if own else row.test_metrics.get("macro_f1", row.test_metrics.get("loss")), 1, form),
            _format_or_empty(row.trainable_fraction, 1, ".2%"),
            _format_or_empty(row.train_seconds, 1, ".1f"),
            _format_or_empty(row.peak_memory_bytes, 1e6, ",.0f"),
            "" if row.artifact_bytes is None else format_bytes(row.artifact_bytes),
        )
    return table


def _format_or_empty(value: float | None, unit: float, form: str) -> str:
    return "" if value is None else format(value / unit, form)


def plot(rows: "Sequence[MethodRow]", *, width: int = PLOT_WIDTH) -> list[str]:
    """Draw the score of every method as `●` in its interval `├──●──┤`, one line each, with the axis below."""
    points = [(row.method, row.score, *row.score_ci95) for row in rows if row.score is not None and row.score_ci95]
    if not points:
        return []
    low, high = min(low for *_, low, _ in points), max(high for *_, high in points)
    low, high = int(low * 20) / 20, min(1.0, int(high * 20 + 0.999) / 20)
    span = max(high - low, 0.05)
    names = max(len(name) for name, *_ in points)

    def column(value: float) -> int:
        return round(min(max((value - low) / span, 0.0), 1.0) * (width - 1))

    drawn = []
    for name, score, *interval in points:
        cells = [" "] * width
        first, last = map(column, interval)
        cells[first : last + 1] = ["─"] * (last - first + 1)
        cells[first], cells[last] = "├", "┤"
        cells[column(score)] = "●"
        drawn.append(f"  {name:<{names}}  {''.join(cells)}  {score:.1%}")
    left, right = f"{low:.0%}", f"{low + span:.0%}"
    drawn.append(f"  {'':<{names}}  {'└' + '─' * (width - 2) + '┘'}")
    drawn.append(f"  {'':<{names}}  {left}{right:>{width - len(left)}}")
    return drawn
