"""Work in processes of their own: one that has loaded everything, and from it a copy for every piece of work.

A piece of work that fails, runs out of memory or crashes takes nothing else down; each starts with clean memory, and none
has to load PyTorch anew. Requests and events are lines of JSON; results go to files.
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
"""`id`, `kind`, and what that kind of work wants."""
Event = dict[str, Any]
"""`id`, `event` (`stepped`, `said`, `done` or `failed`), and what is to be said about it."""
JobSequence = Generator[Request, Event, None]
"""Pieces of work one after the other: it yields a request and is sent the event that ended it."""

_SURROUNDINGS = {"OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
"""A process that is copied must have one thread, and what it needs from a hub was fetched before."""


class WorkerPool:
    """The loaded process and what it is at. `server`: the module to start, which calls `fork_server.serve`.

    `log`: where its standard error goes, Python's own words about a crash too."""

    def __init__(self, log: Path, *, server: str) -> None:
        package = str(assets.PACKAGE.parent)  # this very package, and nothing from the current folder
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **_SURROUNDINGS, "PYTHONPATH": os.pathsep.join(paths)}
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
                start_new_session=True,  # Ctrl-C reaches us alone, and we end it in order
            )

    def work(self, lanes: Iterable[JobSequence], *, jobs: int, hear: Callable[[Event], None]) -> None:
        """Run all lanes to their ends, `jobs` pieces of work at a time; a lane that goes on waits behind the others."""
        waiting: deque[tuple[JobSequence, Event | None]] = deque((lane, None) for lane in lanes)
        running: dict[str, JobSequence] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                lane, outcome = waiting.popleft()
                try:
                    request = next(lane) if outcome is None else lane.send(outcome)
                except StopIteration:
                    continue
                running[request["id"]] = lane
                self._send(request)
            if not running:
                continue
            event = self._next()
            hear(event)
            if event["event"] in ("done", "failed"):
                waiting.append((running.pop(event["id"]), event))

    def ask(self, request: Request, *, hear: Callable[[Event], None] = lambda event: None) -> Event:
        """One piece of work, waited for; that it failed is a `UserError`."""
        ends: list[Event] = []

        def lane() -> JobSequence:
            ends.append((yield request))

        self.work([lane()], jobs=1, hear=hear)
        if ends[0]["event"] == "failed":
            raise UserError(ends[0]["message"], code=ExitCode(ends[0]["code"]))
        return ends[0]

    def close(self) -> None:
        """End the process and all that came from it."""
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
            raise self._gone() from None

    def _next(self) -> Event:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise self._gone()
        return json.loads(line)

    def _gone(self) -> UserError:
        last = (self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
        fix = "run the same command again: what is finished is kept"
        return UserError(f"the working process ended: {last}", where=str(self.log), fix=fix)
