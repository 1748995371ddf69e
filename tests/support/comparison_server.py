"""Servers of comparisons that are forks of a process that has loaded everything: an interpreter takes six seconds of a core."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from finewright.comparison import runner, worker
from finewright.runs.workers import fork_server
from finewright.runs.workers.pool import _ENVIRONMENT, WorkerPool
from support.prover import Prover


class ForkedServer:
    """What `WorkerPool` uses of the process that it started: the ends of two pipes, and how to wait for it."""

    def __init__(self, prover: Prover, *, log: Path) -> None:
        self._prover = prover
        with tempfile.TemporaryDirectory() as place:
            ends = [Path(place) / name for name in ("requests", "events")]
            for end in ends:
                os.mkfifo(end)
            how = {"folder": os.getcwd(), "environment": dict(os.environ), "log": str(log.absolute())}
            self._identity = prover.send({"kind": "serve", "ends": [str(end) for end in ends], **how})
            self.stdin: TextIO = open(ends[0], "w", encoding="utf-8")  # noqa: SIM115  the pool closes both
            self.stdout: TextIO = open(ends[1], encoding="utf-8")  # noqa: SIM115

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the fork has ended."""
        self._prover.wait_for(self._identity)


class ForkedPool(WorkerPool):
    """A pool of workers whose server is such a fork."""

    def __init__(self, log: Path, *, server: str, prover: Prover) -> None:
        assert server == worker.__name__
        self.log, self._server = log, ForkedServer(prover, log=log)


@contextlib.contextmanager
def comparing_in_forks(prover: Prover) -> Iterator[None]:
    """Inside, comparisons start no interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "WorkerPool", functools.partial(ForkedPool, prover=prover))
        yield


def serve(request: dict[str, Any]) -> None:
    """Be the server of a comparison, as `python -m finewright.comparison.worker` with these pipes for input and output."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["environment"] | _ENVIRONMENT)
    for number, (path, how) in enumerate(
        [
            (request["ends"][0], os.O_RDONLY),
            (request["ends"][1], os.O_WRONLY),
            (request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        ]
    ):
        file = os.open(path, how)
        os.dup2(file, number)
        os.close(file)
    work = worker.Worker()
    fork_server.serve(work.perform, work.prepare)
