"""What the terminal shows during a run, and the table at its end."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from finewright.cli.console import clean
from finewright.core.events import DownloadProgress, EvaluationCompleted, StepCompleted, TrainingStopped
from finewright.core.units import format_bytes

if TYPE_CHECKING:
    from finewright.runs.schema import RunResult


class ProgressDisplay:
    """Handles the events of a run: prints its notes and shows progress bars."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"), TimeRemainingColumn()]
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.downloads = Progress(
            "{task.description}", BarColumn(), DownloadColumn(), console=console, disable=not console.is_terminal
        )
        self.steps: TaskID | None = None
        self.files: dict[str, TaskID] = {}
        self.printed_at = time.monotonic()

    def __call__(self, event: Any) -> None:
        """Handle one event; a string is a note."""
        match event:
            case str():
                self.console.print(f"  {clean(event)}", highlight=False, soft_wrap=True)
            case DownloadProgress():
                self._show_download(event)
            case StepCompleted():
                self._show_step(event)
            case EvaluationCompleted(epoch=epoch, metrics=measured, best=best):
                star = "  (best so far)" if best else ""
                line = f"  epoch {epoch:.1f}  validation accuracy {measured['accuracy']:.3f}  loss {measured['loss']:.3f}{star}"
                self.console.print(line, highlight=False)
            case TrainingStopped(step=step, early=early):
                self.close()
                if early:
                    self.console.print(f"  stopped early after step {step}: validation no longer improves", highlight=False)

    def _show_download(self, event: DownloadProgress) -> None:
        self.downloads.start()
        if event.name not in self.files:
            self.files[event.name] = self.downloads.add_task(clean(event.name), total=event.total)
        self.downloads.update(self.files[event.name], completed=event.done, total=event.total)
        if event.done >= event.total:
            self.downloads.stop()

    def _show_step(self, event: StepCompleted) -> None:
        detail = f"step {event.step}/{event.num_steps}  loss {event.result.loss:.3f}"
        if self.steps is None:
            self.downloads.stop()
            self.bar.start()
            self.steps = self.bar.add_task("  training", total=event.num_steps, detail=detail)
            self.started_at, self.first_step = time.monotonic(), event.step  # not 1 in a resumed run
        self.bar.update(self.steps, completed=event.step, detail=detail)
        if not self.console.is_terminal and time.monotonic() - self.printed_at > 10:
            self.printed_at = time.monotonic()
            if done := event.step - self.first_step:
                left = (self.printed_at - self.started_at) / done * (event.num_steps - event.step)
                detail += f"  about {left:.0f} s left"
            self.console.print(f"  {detail}", highlight=False)

    def close(self) -> None:
        """Remove the bars."""
        self.downloads.stop()
        self.bar.stop()


def result_table(result: "RunResult") -> Table:
    """Return the summary of a run."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    share = f"{result.trainable_parameters:,} of {result.total_parameters:,} ({result.trainable_fraction:.2%})"
    table.add_row("trained parameters", f"{share}, {result.head_parameters:,} of them the head")
    split = "test" if result.metrics.test else "validation"
    if measured := result.metrics.test or result.metrics.validation:
        low, high = measured.accuracy_ci95
        interval = f"95 % interval {low:.3f} to {high:.3f}, {measured.num_rows:,} rows"
        table.add_row(f"{split} accuracy", f"{measured.accuracy:.3f} ({interval})")
        table.add_row("macro F1", f"{measured.macro_f1:.3f}")
        table.add_row("majority class", f"{measured.majority_accuracy:.3f}")
    table.add_row("speed", f"{result.examples_per_second:.0f} texts/s, {result.tokens_per_second:.0f} tokens/s")
    memory = compare_to_plan(result.peak_memory_bytes, result.planned_peak_memory_bytes, describe=format_bytes)
    table.add_row("peak memory", memory)
    table.add_row("time", describe_time(result))
    table.add_row("saved", f"{result.artifact_bytes / 1e6:.1f} MB, verified: a new process loads it and gets equal scores")
    return table


def describe_time(result: "RunResult") -> str:
    """Describe the training time. Saving depends on the disk and is not planned, so the plan is compared with the rest."""
    took, saving = result.train_seconds, result.saving_seconds
    text = compare_to_plan(took - saving, result.planned_seconds, describe=lambda seconds: f"{seconds:.1f} s")
    return text if saving < 0.01 * took else f"{text}, and {saving:.1f} s of saving"


def compare_to_plan(measured: float, planned: float, *, describe: Callable[[float], str]) -> str:
    """Describe what was measured, and how far off the plan was."""
    if not planned or not measured:
        return describe(measured)
    return f"{describe(measured)} (planned {describe(planned)}, {planned / measured - 1:+.0%})"


def rows_table(headings: list[str], rows: list[list[str]], *, gap: int = 2) -> Table:
    """Return a plain table. `gap`: spaces on both sides of a column."""
    table = Table(box=None, padding=(0, gap), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(clean(cell) for cell in row))
    return table
