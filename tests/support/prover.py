"""Loads everything once and verifies every model in a fork: a process that never had the trained weights, and starts fast.

The servers of comparisons are forks of it too, see `support.comparison_server`.
"""

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from finewright.core.errors import ExitCode, UserError
from finewright.runs import verify
from finewright.runs.workers import fork_server
from finewright.runs.workers.pool import WorkerPool


class Prover:
    """Asks the process that runs this module; it is started for the first verification."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._pool: WorkerPool | None = None
        self._num_requests = 0

    def __call__(self, request: dict[str, Any]) -> None:
        pool, number = self._next_request()
        try:
            folder = str(Path(request["folder"]).absolute())  # that process may be in another one than the test
            pool.ask({"id": number, "kind": "verify", **request, "folder": folder})
        except UserError as error:
            what = f"the saved model cannot be loaded again: {error.what}"
            raise UserError(what, where=request["folder"], code=ExitCode.MISMATCH) from None

    def send(self, request: dict[str, Any]) -> str:
        """Have a request performed by a fork, and do not wait for it. Return its id."""
        pool, number = self._next_request()
        pool._send({"id": number, **request})
        return number

    def wait_for(self, number: str) -> None:
        """Wait until the fork that performs this request has ended."""
        assert self._pool is not None
        while self._pool._read_event()["id"] != number:
            pass

    def _next_request(self) -> tuple[WorkerPool, str]:
        self._pool = self._pool or self._start()
        self._num_requests += 1
        return self._pool, str(self._num_requests)

    def _start(self) -> WorkerPool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
            return WorkerPool(self._log, server="support.prover")

    def close(self) -> None:
        if self._pool:
            self._pool.close()


def _perform(request: dict[str, Any], notify: Any) -> None:
    from support import comparison_server

    {"verify": verify.answer, "serve": comparison_server.serve}[request["kind"]](request)


if __name__ == "__main__":
    from finewright.comparison import worker

    worker.load_libraries()
    for module in ("peft", "torch._dynamo", "transformers.models.gpt2.modeling_gpt2"):
        importlib.import_module(module)  # what every verification would load again, seconds each time
    fork_server.serve(_perform, lambda request: None)
