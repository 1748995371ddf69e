"""How a run looks in a terminal: sentences and a progress bar with an estimate on standard error, results on standard output."""

import contextlib
import errno
import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

from finewright.core.errors import ExitCode, UserError, is_out_of_memory

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
        console.print(
            "[red]error:[/red] out of memory → smaller --set training.tokens_per_micro_batch=N, or --set data.max_length=N"
        )
        return int(ExitCode.OUT_OF_MEMORY)
    first = clean(text.splitlines()[0])
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        console.print(f"[red]error:[/red] {first} → free some space, or --out elsewhere", highlight=False)
        return int(ExitCode.DISK)
    console.print(f"[red]error:[/red] {first}", highlight=False)
    console.print("  → this should not happen; please report it. FINEWRIGHT_TRACEBACK=1 shows where", highlight=False)
    return 1
