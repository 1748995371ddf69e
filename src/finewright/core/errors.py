"""Errors that a user can fix, and their exit codes."""

from enum import IntEnum

RESUME = "finewright train --resume RUN"
"""The command that resumes a run, in messages; code that knows the folder replaces RUN."""


class ExitCode(IntEnum):
    """Exit codes of the `finewright` command."""

    USAGE = 2
    BAD_DATA = 3
    MISMATCH = 4
    NON_FINITE = 5
    OUT_OF_MEMORY = 6
    DISK = 7


_NO_MEMORY = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""Texts of plain errors: the allocators of the CPU and of macOS, CUDA outside PyTorch's allocator, and its libraries."""


class UserError(Exception):
    """An error that the user can fix.

    `what`: what was wanted and what was found, with the value.
    `where`: `file:row`, a key or a path; empty if there is no such place.
    `fix`: what to do; empty only if `what` already says it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "", code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.code = code

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        fix = f"\n  → {self.fix}" if self.fix else ""
        return f"{place}{self.what}{fix}"


def code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error of work in another process; MISMATCH if the error has none."""
    if isinstance(error, UserError):
        return error.code
    return ExitCode.OUT_OF_MEMORY if is_out_of_memory(error) else ExitCode.MISMATCH


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def last_line(error: BaseException) -> str:
    """Return one line that says what went wrong: `what` of a `UserError`, the last line of other errors."""
    if isinstance(error, UserError):
        return " ".join(error.what.split("\n"))
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: PyTorch raises several types, on a CPU a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
