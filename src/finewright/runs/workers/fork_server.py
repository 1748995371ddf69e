"""The server that `WorkerPool` starts: it loads everything once, then forks for every request on standard input."""

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from finewright.core.errors import UserError
from finewright.core.interrupts import PATIENCE_S

_POLL_SECONDS = 0.1
_MOST_BYTES = 4000
"""Of a line: under 4,096 bytes a write to a pipe is atomic, however many processes write to it (POSIX)."""

Notify = Callable[[dict[str, Any]], None]


def serve(perform: Callable[[dict[str, Any], Notify], None], prepare: Callable[[dict[str, Any]], None]) -> None:
    """Serve requests until standard input ends. `prepare` runs here, for all later requests; `perform` runs in a fork."""
    events = os.dup(1)
    os.dup2(2, 1)  # output of libraries goes to the log
    children: dict[int, str] = {}
    requests = _Lines()
    while not requests.ended:
        for line in requests.read(_POLL_SECONDS):
            request = json.loads(line)
            if request["kind"] == "prepare":
                _attempt(lambda request=request: prepare(request), request["id"], events)
                continue
            gc.freeze()  # a fork collects none of what is loaded: a third of a short run's time, and memory stays shared
            child = os.fork()
            if child == 0:
                _perform_and_exit(perform, request, events)
            children[child] = request["id"]
        _reap(children, events)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    until = time.monotonic() + PATIENCE_S
    while children and time.monotonic() < until:
        _reap(children, events)
        time.sleep(_POLL_SECONDS / 2)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


class _Lines:
    """Lines of standard input as they arrive, each awaited for a limited time."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""

    def read(self, seconds: float) -> list[str]:
        """Return the complete lines that have arrived; none if `seconds` pass without input."""
        if not select.select([0], [], [], seconds)[0]:
            return []
        found = os.read(0, 1 << 16)
        self.ended = not found
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [line.decode() for line in lines]


def _perform_and_exit(perform: Callable[[dict[str, Any], Notify], None], request: dict[str, Any], events: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)

    def notify(event: dict[str, Any]) -> None:
        if not _write(events, {"id": request["id"], **event}):
            os._exit(1)  # the reader is gone: nobody needs the result

    code = 1
    try:
        _attempt(lambda: perform(request, notify), request["id"], events)
        code = 0
    finally:
        os._exit(code)


def _attempt(run: Callable[[], None], identity: str, events: int) -> None:
    """Call `run` and report its outcome; an unexpected exception leaves its traceback in the log."""
    try:
        run()
        end: dict[str, Any] = {"event": "done"}
    except UserError as error:
        end = {"event": "failed", "message": str(error), "code": int(error.code)}
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        end = {"event": "failed", "message": message, "code": 2}
    _write(events, {"id": identity, **end})


def _reap(children: dict[int, str], events: int) -> None:
    """Report how each child ended that sent no outcome."""
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        identity = children.pop(child)
        if status == 0:
            continue
        event = {"id": identity, "event": "failed", "message": "ended without a message", "code": 2}
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            event["message"] = f"ended by signal {number} ({signal.Signals(number).name})"
            if number == signal.SIGKILL:
                event |= {"message": event["message"] + ", perhaps because memory ran out", "code": 6}
        _write(events, event)


def _write(events: int, event: dict[str, Any]) -> bool:
    """Write one line in one call; return whether the reader still exists."""
    while len(line := (json.dumps(event, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")) > _MOST_BYTES:
        event = event | {"message": event["message"][: len(event["message"]) * 3 // 4]}
    try:
        os.write(events, line)
    except BrokenPipeError:
        return False
    return True


def serve_and_exit(perform: Callable[[dict[str, Any], Notify], None], prepare: Callable[[dict[str, Any]], None]) -> None:
    """Serve, then end the process at once."""
    serve(perform, prepare)
    sys.stderr.flush()
    os._exit(0)  # everything is in files: an orderly exit would only take time
