"""How a run looks in a terminal: sentences and a progress bar with an estimate on standard error, results on standard output."""

import atexit
import contextlib
import errno
import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from finewright.errors import ExitCode, UserError, is_out_of_memory
from finewright.memory import in_words
from finewright.run import RunFolder
from finewright.stop import Interrupted, Stop, on_signals

_CONTROL = {code: None for code in [*range(32), 127, *range(128, 160)] if code not in (9, 10)}


def clean(text: str) -> str:
    """Text from outside, harmless to a terminal: no control characters, no markup, no half characters."""
    return escape(text.translate(_CONTROL).encode("utf-8", "backslashreplace").decode())


class _Console(Console):
    """When its reader leaves it falls silent and the work goes on; rich by itself would end the program with exit code 1."""

    def on_broken_pipe(self) -> None:
        """The reader has enough."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        self.quiet = True
        to_nowhere(self.file)


class OutputConsole(_Console):
    """Standard output."""


class ErrorConsole(_Console):
    """Standard error, whose terminal may also be gone."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """The end of every print, where it is written."""
        try:
            super().__exit__(exc_type, exc_value, traceback)
        except OSError:
            self._fall_silent()


def to_nowhere(file: Any) -> None:
    """What is left in its buffer would fail again, at the very end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)


def print_json(value: Any) -> None:
    """One object on standard output: whole or not at all. A reader who left does not change how the command ends."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2).encode("utf-8", "backslashreplace").decode()
    if sys.stdout is None:
        raise UserError("standard output is closed", fix="give it somewhere to go")
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        to_nowhere(sys.stdout)


def read_lines() -> list[str]:
    """Texts from standard input, one a line; empty lines are left out."""
    if sys.stdin is None:
        raise UserError("no texts: standard input is closed", fix="give texts as words, with --file, or on standard input")
    return [line.rstrip("\n") for line in sys.stdin if line.strip()]


STOP = Stop()
"""What signals wish."""
AGAIN_S = 0.02
"""Until a signal that was lost is sent once more: the destructor is over by then."""
GRACE_S = 25.0
"""How long a wish to stop waits for a step to end: batch systems kill 30 s after they asked. Then the step is dropped."""
_SHOW_CURSOR = "\x1b[?25h"


def stop_on_signals() -> None:
    """Ctrl-C, a termination, a lost terminal: the first waits for a step to end, the second does not wait."""

    def heard(number: int, _: Any) -> None:
        if STOP.wished:
            _say_now("stopped at once\n", cursor=True)
            os._exit(128 + number)
        if STOP.patient:
            _say_now("stopping after this step; once more stops at once\n")
            # At the interpreter's very end, when no handler is left, an alarm would end the process with a code of its own.
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
            STOP.wait_at_most(GRACE_S)
        STOP.wish(number)

    if threading.current_thread() is threading.main_thread():
        on_signals(heard)
        sys.unraisablehook = _hearing_again(sys.unraisablehook)


def _hearing_again(report: Callable[[Any], None]) -> Callable[[Any], None]:
    """A signal may come while Python is inside a destructor, where what is raised is dropped: then it is sent once more."""

    def dropped(what: Any) -> None:
        if not isinstance(what.exc_value, Interrupted):
            report(what)
            return
        if STOP.patient:
            STOP.droppable = True  # the alarm comes again by itself
            return
        STOP.number = 0  # else the same wish would count as a second one, which does not wait
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), what.exc_value.number))
        again.daemon = True
        again.start()

    return dropped


def _say_now(text: str, *, cursor: bool = False) -> None:
    """Past every buffer: a signal may come while one is being filled."""
    with contextlib.suppress(OSError):
        os.write(2, ((_SHOW_CURSOR if cursor and os.isatty(2) else "") + text).encode())


def say_stopped(wish: Interrupted) -> int:
    """What became of the run or comparison and how it goes on; the exit code."""
    run = RunFolder(wish.run) if wish.run else None
    if run and run.committed_step:
        command = f"finewright train --resume {shlex.quote(str(run.path))}"
        text = f"stopped; step {run.committed_step:,} is saved, this goes on from there:\n  {command}"
    elif wish.again:
        text = f"stopped; what was done is kept, the same comparison goes on with:\n  {wish.again}"
    else:
        text = "stopped" + ("; nothing was saved yet, the same command begins again" if run else "")
    ErrorConsole().print(text, highlight=False, soft_wrap=True, markup=False)
    return 128 + wish.number


def explain(error: Exception) -> int:
    """Say what went wrong in one message, be it the user's, the machine's or ours; the exit code."""
    console = ErrorConsole()
    if isinstance(error, UserError):
        console.print(f"[red]error:[/red] {clean(str(error))}", highlight=False, soft_wrap=True)
        return int(error.code)
    if os.environ.get("FINEWRIGHT_TRACEBACK"):
        console.print_exception()
    text = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        console.print("[red]error:[/red] out of memory → smaller --set train.batch_tokens=N, or --set data.max_length=N")
        return int(ExitCode.OUT_OF_MEMORY)
    first = clean(text.splitlines()[0])
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        console.print(f"[red]error:[/red] {first} → free some space, or --out elsewhere", highlight=False)
        return int(ExitCode.DISK)
    console.print(f"[red]error:[/red] {first}", highlight=False)
    console.print("  → this should not happen; please report it. FINEWRIGHT_TRACEBACK=1 shows where", highlight=False)
    return 1


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
    table.add_row("peak memory", beside(result, "peak_memory_bytes", words=in_words))
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
