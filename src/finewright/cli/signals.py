"""SIGINT and SIGTERM: the first asks a run to stop at a safe point."""

import atexit
import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from finewright.cli.console import ErrorConsole
from finewright.core.interrupts import Interrupted, StopRequest, handle_signals
from finewright.runs.folder import RunFolder

STOP = StopRequest()
"""What signals wish."""
AGAIN_S = 0.02
"""Until a signal that was lost is sent once more: the destructor is over by then."""
GRACE_S = 25.0
"""How long a wish to stop waits for a step to end: batch systems kill 30 s after they asked. Then the step is dropped."""
_SHOW_CURSOR = "\x1b[?25h"


def stop_on_signals() -> None:
    """Ctrl-C, a termination, a lost terminal: the first waits for a step to end, the second does not wait."""

    def heard(number: int, _: Any) -> None:
        if STOP.requested:
            _say_now("stopped at once\n", cursor=True)
            os._exit(128 + number)
        if STOP.patient:
            _say_now("stopping after this step; once more stops at once\n")
            # At the interpreter's very end, when no handler is left, an alarm would end the process with a code of its own.
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
            STOP.wait_at_most(GRACE_S)
        STOP.request(number)

    if threading.current_thread() is threading.main_thread():
        handle_signals(heard)
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


def say_stopped(stop_request: Interrupted) -> int:
    """What became of the run or comparison and how it goes on; the exit code."""
    run = RunFolder(stop_request.run) if stop_request.run else None
    if run and run.committed_step:
        command = f"finewright train --resume {shlex.quote(str(run.path))}"
        text = f"stopped; step {run.committed_step:,} is saved, this goes on from there:\n  {command}"
    elif stop_request.again:
        text = f"stopped; what was done is kept, the same comparison goes on with:\n  {stop_request.again}"
    else:
        text = "stopped" + ("; nothing was saved yet, the same command begins again" if run else "")
    ErrorConsole().print(text, highlight=False, soft_wrap=True, markup=False)
    return 128 + stop_request.number
