"""Run work in processes: one loads everything, and is forked for every piece of work.

A piece of work that fails, runs out of memory or crashes does not affect others; each starts with clean memory, and none
has to load PyTorch again. Requests and events are lines of JSON; results go to files.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from finewright.core import assets
from finewright.core.errors import ExitCode, UserError
from finewright.core.interrupts import PATIENCE_S

Request = dict[str, Any]
"""`id`, `kind`, and the arguments of that kind of work."""
Event = dict[str, Any]
"""`id`, `event` (`stepped`, `said`, `done` or `failed`), and its details."""
JobSequence = Generator[Request, Event, None]
"""A sequence of requests: it yields one and is sent the event that ended it."""

_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
"""A process that is forked must have one thread, and what it needs from a hub was downloaded before."""


class WorkerPool:
    """The server process and its work. `server`: the module to start, which calls `fork_server.serve`.

    `log`: file for its standard error, which has Python's message after a crash."""

    def __init__(self, log: Path, *, server: str) -> None:
        package = str(assets.PACKAGE.parent)  # this package, and nothing from the current folder
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}
        self.log = log
        with open(log, "ab") as errors:
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", server],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C reaches only this process, which then ends the server
            )

    def work(self, sequences: Iterable[JobSequence], *, jobs: int, on_event: Callable[[Event], None]) -> None:
        """Run all sequences to their ends, `jobs` requests at a time; the next request of a sequence waits behind the others."""
        waiting: deque[tuple[JobSequence, Event | None]] = deque((sequence, None) for sequence in sequences)
        running: dict[str, JobSequence] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                sequence, outcome = waiting.popleft()
                try:
                    request = next(sequence) if outcome is None else sequence.send(outcome)
                except StopIteration:
                    continue
                running[request["id"]] = sequence
                self._send(request)
            if not running:
                continue
            event = self._read_event()
            on_event(event)
            if event["event"] in ("done", "failed"):
                waiting.append((running.pop(event["id"]), event))

    def ask(self, request: Request, *, on_event: Callable[[Event], None] = lambda event: None) -> Event:
        """Run one request and wait for it; raise `UserError` if it failed."""
        outcomes: list[Event] = []

        def sequence() -> JobSequence:
            outcomes.append((yield request))

        self.work([sequence()], jobs=1, on_event=on_event)
        if outcomes[0]["event"] == "failed":
            raise UserError(outcomes[0]["message"], code=ExitCode(outcomes[0]["code"]))
        return outcomes[0]

    def close(self) -> None:
        """End the server and all its forks."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.close()
        try:
            self._server.wait(timeout=PATIENCE_S + 10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server.stdout.close()
        if self.log.exists() and not self.log.stat().st_size:
            self.log.unlink()

    def _send(self, request: Request) -> None:
        assert self._server.stdin is not None
        try:
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
        except BrokenPipeError:
            raise self._ended_error() from None

    def _read_event(self) -> Event:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise self._ended_error()
        return json.loads(line)

    def _ended_error(self) -> UserError:
        last = (self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
        fix = "run the same command again: finished work is kept"
        return UserError(f"the worker process ended: {last}", where=str(self.log), fix=fix)
