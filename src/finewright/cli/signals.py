"""SIGINT, SIGTERM and SIGHUP: the first stops a run at a safe point, the second at once."""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from finewright.core.interrupts import Interrupted, StopRequest, handle_signals

STOP = StopRequest()
"""The stop request that signals make."""
RESEND_S = 0.02
"""Delay until a lost signal is sent again: the destructor has ended by then."""
GRACE_S = 25.0
"""How long a stop request waits for a step to end: batch systems kill 30 s after SIGTERM. Then the step is dropped."""
_SHOW_CURSOR = "\x1b[?25h"


def stop_on_signals() -> None:
    """Handle signals: the first waits for a step to end, the second does not."""

    def handle(number: int, _: Any) -> None:
        if STOP.requested:
            _print_now("stopped at once\n", cursor=True)
            os._exit(128 + number)
        if STOP.patient:
            _print_now("stopping after this step; once more stops at once\n")
            # After Python has removed its handlers, a pending alarm would end the process with a different exit code.
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
            STOP.wait_at_most(GRACE_S)
        STOP.request(number)

    if threading.current_thread() is threading.main_thread():
        handle_signals(handle)
        sys.unraisablehook = _resending(sys.unraisablehook)


def _resending(report: Callable[[Any], None]) -> Callable[[Any], None]:
    """Send a signal again if it came inside a destructor, where Python drops what is raised."""

    def handle_dropped(what: Any) -> None:
        if not isinstance(what.exc_value, Interrupted):
            report(what)
            return
        if STOP.patient:
            STOP.droppable = True  # the alarm fires again by itself
            return
        STOP.number = 0  # otherwise the same signal would count as the second one, which does not wait
        again = threading.Timer(RESEND_S, os.kill, (os.getpid(), what.exc_value.number))
        again.daemon = True
        again.start()

    return handle_dropped


def _print_now(text: str, *, cursor: bool = False) -> None:
    """Write past every buffer: a signal may come while one is being filled."""
    with contextlib.suppress(OSError):
        os.write(2, ((_SHOW_CURSOR if cursor and os.isatty(2) else "") + text).encode())


def report_stopped(stop_request: Interrupted) -> int:
    """Print what was saved and how to resume; return the exit code."""
    from finewright.cli.console import ErrorConsole
    from finewright.core.program import localize_commands, quote_path
    from finewright.runs.folder import RunFolder

    run = RunFolder(stop_request.run) if stop_request.run else None
    if run and run.committed_step:
        command = f"finewright train --resume {quote_path(run.path)}"
        text = f"stopped; step {run.committed_step:,} is saved, resume with:\n  {command}"
    elif stop_request.again:
        text = f"stopped; finished runs are saved, resume with:\n  {stop_request.again}"
    else:
        text = "stopped" + ("; nothing was saved yet, the same command starts again" if run else "")
    ErrorConsole().print(localize_commands(text), highlight=False, soft_wrap=True, markup=False)
    return 128 + stop_request.number
