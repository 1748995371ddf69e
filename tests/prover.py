"""Loads everything once and answers every proof from a fork: a process that never saw what was trained, in no time."""

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from finewright import crew, forks, proof
from finewright.crew import Crew
from finewright.errors import ExitCode, UserError


class Prover:
    """Asks the process that this module is when it is run; started when the first proof is wanted."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._crew: Crew | None = None
        self._asked = 0

    def __call__(self, request: dict[str, Any]) -> None:
        self._crew = self._crew or self._start()
        self._asked += 1
        try:
            folder = os.path.abspath(request["folder"])  # tests change the working folder, that process stays in its own
            self._crew.ask({"id": str(self._asked), "kind": "proof", **request, "folder": folder})
        except UserError as error:
            what = f"the saved model cannot be loaded again: {error.what}"
            raise UserError(what, where=request["folder"], code=ExitCode.MISMATCH) from None

    def _start(self) -> Crew:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(crew, "SERVER", "prover")
            patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
            return Crew(self._log)

    def close(self) -> None:
        if self._crew:
            self._crew.close()


if __name__ == "__main__":
    for module in ("peft", "torch._dynamo", "transformers.models.gpt2.modeling_gpt2"):
        importlib.import_module(module)  # what every proof would load anew, seconds each time
    forks.serve(lambda request, tell: proof.answer(request), lambda request: None)
