"""Consoles for standard output (results) and standard error (progress, notes), and how an error is explained."""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from finewright.cli.streams import make_printable
from finewright.core.errors import ExitCode, UserError, is_out_of_memory
from finewright.core.program import localize_commands

_CONTROL = {code: None for code in [*range(32), 127, *range(128, 160)] if code not in (9, 10)}


def is_plain(console: Console) -> bool:
    """Return whether drawings must be ASCII, as the console's encoding has few other characters."""
    return not (console.encoding or "").lower().startswith("utf")


def draw_bar(share: float, *, width: int, plain: bool) -> str:
    """Return a bar, `width` characters long for a share of 1. `plain`: ASCII alone."""
    return ("#" if plain else "█") * max(1, round(share * width))


def clean(text: str) -> str:
    """Return text that is safe to print: no control characters, no markup, no lone surrogates."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Return text without control characters and lone surrogates, for output that knows no markup."""
    return text.translate(_CONTROL).encode("utf-8", "backslashreplace").decode()


class _Console(Console):
    """Falls silent when its reader closes the pipe, and the work continues; rich would exit with code 1."""

    def on_broken_pipe(self) -> None:
        """Fall silent."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        self.quiet = True
        redirect_to_null(self.file)


class OutputConsole(_Console):
    """Standard output."""

    def __init__(self) -> None:
        make_printable(sys.stdout)
        super().__init__()


class ErrorConsole(_Console):
    """Standard error, whose terminal may also be gone."""

    def __init__(self) -> None:
        make_printable(sys.stderr)
        super().__init__(stderr=True)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Write what was printed; rich calls this at the end of every print."""
        try:
            super().__exit__(exc_type, exc_value, traceback)
        except OSError:
            self._fall_silent()


@contextlib.contextmanager
def showing_loading(name: str) -> Iterator[None]:
    """Say on a terminal what is loaded, while libraries and weights are: that takes seconds."""
    with ErrorConsole().status(f"loading {clean(name)}"):
        yield


def redirect_to_null(file: Any) -> None:
    """Redirect a broken file to the null device: flushing its buffer at exit would fail again."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, file.fileno())
        os.close(null)


def print_json(value: Any) -> None:
    """Print one object on standard output, all of it or none. A closed pipe does not change the exit code."""
    if sys.stdout is None:
        raise UserError("standard output is closed", fix="redirect it to a file")
    # JSON has its own way to write a character that the encoding of standard output lacks
    is_unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=not is_unicode, allow_nan=False, indent=2).encode("utf-8", "backslashreplace").decode()
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stdout)


def write_text(text: str) -> None:
    """Write text to standard output at once, without control characters. A closed pipe does not change the exit code."""
    if sys.stdout is None:
        raise UserError("standard output is closed", fix="redirect it to a file")
    try:
        sys.stdout.write(printable(text))
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stdout)


def write_bytes(content: bytes) -> None:
    """Write bytes to standard output, all of them or none. A closed pipe does not change the exit code."""
    if sys.stdout is None:
        raise UserError("standard output is closed", fix="redirect it to a file")
    try:
        if hasattr(sys.stdout, "buffer"):
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
        else:
            sys.stdout.write(content.decode())
        sys.stdout.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stdout)


def explain(error: Exception) -> int:
    """Print what went wrong in one message and return the exit code."""
    console = ErrorConsole()
    if isinstance(error, UserError):
        console.print(f"[red]error:[/red] {clean(localize_commands(str(error)))}", highlight=False, soft_wrap=True)
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
