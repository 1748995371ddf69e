"""A server for the tests of `WorkerPool` and `fork_server`: it loads nothing and performs simple requests."""

import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

from finewright.core.errors import ExitCode, UserError
from finewright.runs.workers import fork_server

_said = []


def prepare(request):
    if "fault" in request:
        raise UserError(request["fault"], code=ExitCode.BAD_DATA)
    _said.append(request["say"])


def say(request, notify):
    notify(
        {
            "event": "stepped",
            "said": _said,
            "parent": os.getppid(),
            "threads": threading.active_count(),
            "frozen": gc.get_freeze_count(),
        }
    )
    sys.stdout.write("something that a library prints")
    sys.stdout.flush()


def refuse(request, notify):
    raise UserError("wanted this, found that" + "é" * request.get("more", 0), fix="do so", code=ExitCode.NON_FINITE)


def surprise(request, notify):
    raise KeyError("surprise")


def kill(request, notify):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(request, notify):
    sys.exit(143)


def wait(request, notify):
    Path(request["out"]).write_text(str(os.getpid()))
    time.sleep(60)


def meet(request, notify):
    """Ends only when somebody else is there at the same time."""
    place = Path(request["place"])
    (place / request["id"]).write_text("")
    while len(list(place.iterdir())) < request["number"]:
        time.sleep(0.01)


def chatter(request, notify):
    for number in range(200):
        notify({"event": "stepped", "step": number, "padding": "x" * 500})


def perform(request, notify):
    globals()[request["kind"]](request, notify)


if __name__ == "__main__":
    fork_server.serve(perform, prepare)
