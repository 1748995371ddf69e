"""What a person can repair, and the exit code that says which kind it is."""

from enum import IntEnum

RESUME = "finewright train --resume RUN"
"""How a message names the command that goes on with the run; which folder that is, whoever has one puts in."""


class ExitCode(IntEnum):
    """Exit codes of the `finewright` command."""

    USAGE = 2
    BAD_DATA = 3
    MISMATCH = 4
    NON_FINITE = 5
    OUT_OF_MEMORY = 6
    DISK = 7


_NO_MEMORY = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""How plain errors say it: the allocator of the CPU, of a Mac, CUDA outside PyTorch's own allocator, and its libraries."""


class UserError(Exception):
    """Something the user can put right.

    `what`: what was wanted and what was found, with the value.
    `where`: `file:row`, a key or a path; empty if there is no such place.
    `fix`: the way out; empty only if `what` already says it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "", code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.code = code

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        way_out = f"\n  → {self.fix}" if self.fix else ""
        return f"{place}{self.what}{way_out}"


def code_of(error: BaseException) -> ExitCode:
    """What kind of end an error makes of work in another process; MISMATCH where it does not say."""
    if isinstance(error, UserError):
        return error.code
    return ExitCode.OUT_OF_MEMORY if is_out_of_memory(error) else ExitCode.MISMATCH


def last_line(error: BaseException) -> str:
    """One line that says what went wrong: what a `UserError` says comes before its way out, other errors end with it."""
    if isinstance(error, UserError):
        return " ".join(error.what.split("\n"))
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: PyTorch raises several kinds, on a CPU a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
