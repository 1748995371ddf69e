"""A copy of a process, made while it was still clean, that does one thing for it later."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from finewright.core.errors import ExitCode, UserError, code_of, last_line

_DONE = "done"


class CleanProcess:
    """Forked at once; it waits for a request, does `work` with it and says how that went. To be made before any thread is."""

    def __init__(self, work: Callable[[dict[str, Any]], None]) -> None:
        asked, self._ask = os.pipe()
        self._answers, answer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._ask)
            os.close(self._answers)
            _live(work, asked, answer)
        os.close(asked)
        os.close(answer)

    def __call__(self, request: dict[str, Any]) -> None:
        """Have it done, and wait; that it could not be done is a `UserError` with its last words."""
        with (
            contextlib.suppress(BrokenPipeError),  # it is gone already: below it is told how it ended
            os.fdopen(self._ask, "w", encoding="utf-8", closefd=False) as pipe,
        ):
            json.dump(request, pipe)
        os.close(self._ask)
        self._ask = -1
        with os.fdopen(self._answers, encoding="utf-8", errors="replace", closefd=False) as pipe:
            answer = pipe.read()
        if answer == _DONE:
            return
        if not answer:
            raise UserError("the process that was asked ended without a word", code=self._silent_end())
        code, _, words = answer.partition(" ")
        raise UserError(words, code=ExitCode(int(code)))

    def _silent_end(self) -> ExitCode:
        """Systems that have no memory left kill a process, which then says nothing."""
        with contextlib.suppress(ChildProcessError):
            status = os.waitpid(self._child, 0)[1]
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                return ExitCode.OUT_OF_MEMORY
        return ExitCode.MISMATCH

    def close(self) -> None:
        """Let go of it: one that was never asked ends too."""
        for end in (self._ask, self._answers):
            if end >= 0:
                os.close(end)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, 0)


def _live(work: Callable[[dict[str, Any]], None], asked: int, answer: int) -> None:
    said = ""
    try:
        with os.fdopen(asked, encoding="utf-8") as pipe:
            request = pipe.read()
        if request:
            work(json.loads(request))
        said = _DONE
    except BaseException as error:
        said = f"{int(code_of(error))} {last_line(error)}"
    finally:
        with contextlib.suppress(OSError):
            os.write(answer, said.encode("utf-8", "backslashreplace")[:4000])
        os._exit(0)
