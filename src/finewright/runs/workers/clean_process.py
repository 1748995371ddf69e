"""A fork of this process, made before it loads anything else, that does one piece of work later."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from finewright.core.errors import ExitCode, UserError, code_of, last_line

_DONE = "done"


class CleanProcess:
    """Forks at once; the fork waits for a request, does `work` with it and reports the outcome. Create it before any thread."""

    def __init__(self, work: Callable[[dict[str, Any]], None]) -> None:
        requests, self._requests = os.pipe()
        self._answers, answer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._requests)
            os.close(self._answers)
            _serve_request(work, requests, answer)
        os.close(requests)
        os.close(answer)

    def __call__(self, request: dict[str, Any]) -> None:
        """Send the request and wait; raise `UserError` with the last line of the error if the work failed."""
        with (
            contextlib.suppress(BrokenPipeError),  # it ended already: the reason is reported below
            os.fdopen(self._requests, "w", encoding="utf-8", closefd=False) as pipe,
        ):
            json.dump(request, pipe)
        os.close(self._requests)
        self._requests = -1
        with os.fdopen(self._answers, encoding="utf-8", errors="replace", closefd=False) as pipe:
            answer = pipe.read()
        if answer == _DONE:
            return
        if not answer:
            raise UserError("the process ended without a message", code=self._exit_code_without_answer())
        code, _, message = answer.partition(" ")
        raise UserError(message, code=ExitCode(int(code)))

    def _exit_code_without_answer(self) -> ExitCode:
        """Return the exit code to report. A system without free memory kills a process, which then sends no answer."""
        with contextlib.suppress(ChildProcessError):
            status = os.waitpid(self._child, 0)[1]
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                return ExitCode.OUT_OF_MEMORY
        return ExitCode.MISMATCH

    def close(self) -> None:
        """Close the pipes and wait for the process; one without a request ends too."""
        for end in (self._requests, self._answers):
            if end >= 0:
                os.close(end)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, 0)


def _serve_request(work: Callable[[dict[str, Any]], None], requests: int, answer: int) -> None:
    outcome = ""
    try:
        with os.fdopen(requests, encoding="utf-8") as pipe:
            request = pipe.read()
        if request:
            work(json.loads(request))
        outcome = _DONE
    except BaseException as error:
        outcome = f"{int(code_of(error))} {last_line(error)}"
    finally:
        with contextlib.suppress(OSError):
            os.write(answer, outcome.encode("utf-8", "backslashreplace")[:4000])
        os._exit(0)
