"""What a person sees while a run goes on, and the table at its end."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from finewright.cli.console import clean
from finewright.core.units import format_bytes


class Listener:
    """Hears what a run says and shows it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"), TimeRemainingColumn()]
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.downloads = Progress(
            "{task.description}", BarColumn(), DownloadColumn(), console=console, disable=not console.is_terminal
        )
        self.steps: TaskID | None = None
        self.files: dict[str, TaskID] = {}
        self.spoke_at = time.monotonic()

    def __call__(self, event: Any) -> None:
        """Sentences are printed; events are told apart by their kind's name, so that the engine stays unloaded here."""
        kind = type(event).__name__
        if isinstance(event, str):
            self.console.print(f"  {clean(event)}", highlight=False, soft_wrap=True)
        elif kind == "Downloading":
            self._download(event)
        elif kind == "Stepped":
            self._step(event)
        elif kind == "Evaluated":
            measured = event.metrics
            star = "  (best so far)" if event.best else ""
            line = f"  epoch {event.epoch:.1f}  validation accuracy {measured['accuracy']:.3f}  loss {measured['loss']:.3f}{star}"
            self.console.print(line, highlight=False)
        elif kind == "Stopped":
            self.close()
            if event.early:
                self.console.print(f"  stopped early after step {event.step}: validation no longer improves", highlight=False)

    def _download(self, event: Any) -> None:
        self.downloads.start()
        if event.name not in self.files:
            self.files[event.name] = self.downloads.add_task(clean(event.name), total=event.total)
        self.downloads.update(self.files[event.name], completed=event.done, total=event.total)
        if event.done >= event.total:
            self.downloads.stop()

    def _step(self, event: Any) -> None:
        detail = f"step {event.step}/{event.num_steps}  loss {event.result.loss:.3f}"
        if self.steps is None:
            self.downloads.stop()
            self.bar.start()
            self.steps = self.bar.add_task("  training", total=event.num_steps, detail=detail)
            self.began_at, self.first_step = time.monotonic(), event.step  # not 1 in a run that goes on
        self.bar.update(self.steps, completed=event.step, detail=detail)
        if not self.console.is_terminal and time.monotonic() - self.spoke_at > 10:
            self.spoke_at = time.monotonic()
            if passed := event.step - self.first_step:
                left = (self.spoke_at - self.began_at) / passed * (event.num_steps - event.step)
                detail += f"  about {left:.0f} s left"
            self.console.print(f"  {detail}", highlight=False)

    def close(self) -> None:
        """Take the bars away."""
        self.downloads.stop()
        self.bar.stop()


def result_table(result: dict[str, Any]) -> Table:
    """The summary of a run."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    share = f"{result['trainable_parameters']:,} of {result['total_parameters']:,} ({result['trainable_fraction']:.2%})"
    table.add_row("trained parameters", f"{share}, {result['head_parameters']:,} of them the head")
    measured = result["metrics"].get("test") or result["metrics"].get("validation")
    if measured:
        low, high = measured["accuracy_ci95"]
        split = "test" if "test" in result["metrics"] else "validation"
        interval = f"95 % interval {low:.3f} to {high:.3f}, {measured['num_rows']:,} rows"
        table.add_row(f"{split} accuracy", f"{measured['accuracy']:.3f} ({interval})")
        table.add_row("macro F1", f"{measured['macro_f1']:.3f}")
        table.add_row("always the majority", f"{measured['majority_accuracy']:.3f}")
    speed = f"{result['examples_per_second']:.0f} texts, {result['tokens_per_second']:.0f} tokens a second"
    table.add_row("speed", speed)
    table.add_row("peak memory", beside(result, "peak_memory_bytes", words=format_bytes))
    table.add_row("time", time_in_words(result))
    table.add_row("saved", f"{result['artifact_bytes'] / 1e6:.1f} MB, loaded again in a new process: scores equal")
    return table


def time_in_words(result: dict[str, Any]) -> str:
    """Seconds of training. What saving takes depends on the disk and is not planned: the plan is held against the rest."""
    took, saving = result["train_seconds"], result.get("saving_seconds", 0.0)
    known = {"seconds": took - saving, "planned_seconds": result.get("planned_seconds")}
    told = beside(known, "seconds", words=lambda seconds: f"{seconds:.1f} s")
    return told if saving < 0.01 * took else f"{told}, and {saving:.1f} s of saving"


def beside(result: dict[str, Any], name: str, *, words: Callable[[float], str]) -> str:
    """What was measured, and how far off the plan was."""
    measured, wanted = result[name], result.get(f"planned_{name}")
    if not wanted or not measured:
        return words(measured)
    return f"{words(measured)} (planned {words(wanted)}, {wanted / measured - 1:+.0%})"


def rows_table(headings: list[str], rows: list[list[str]], *, gap: int = 2) -> Table:
    """A plain table. `gap`: spaces on both sides of a column."""
    table = Table(box=None, padding=(0, gap), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(clean(cell) for cell in row))
    return table
