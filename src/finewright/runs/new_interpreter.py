"""Have a new Python process load what was saved, which knows nothing of what was trained."""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from finewright.core import assets
from finewright.core.errors import ExitCode, UserError, code_of, last_line
from finewright.core.imports import leave_garbage_at_exit
from finewright.core.quiet import quiet_whole_process


def ask(module: str, request: dict[str, Any]) -> None:
    """Have `module.answer` answer the request in a new interpreter. `folder` in it: of the saved model, for messages.

    Raise `UserError` if the process fails.
    """
    package = str(assets.PACKAGE.parent)  # this package, and nothing from the current folder
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-P", "-m", __name__, module]
    child = subprocess.run(command, input=json.dumps(request), env=environment, capture_output=True, text=True, check=False)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        code = _exit_code(child.returncode, last)
        raise UserError(f"the saved model cannot be loaded again: {last}", where=request["folder"], code=code)


def _exit_code(code: int, last: str) -> ExitCode:
    """Return the exit code to report. Memory can run out while PyTorch is loaded, before `serve` can say so."""
    killed = code == -signal.SIGKILL  # by a system without free memory
    aborted = code == -signal.SIGABRT and "bad_alloc" in last  # an uncaught C++ exception
    if killed or aborted or last.startswith("MemoryError"):
        return ExitCode.OUT_OF_MEMORY
    return ExitCode(code) if code in [*ExitCode] else ExitCode.MISMATCH


def serve(answer: Callable[[dict[str, Any]], None]) -> None:
    """Answer the request on standard input; the exit code distinguishes a lack of memory from other errors.

    A `UserError` is written as one line, because the caller reads the last one.
    """
    try:
        answer(json.load(sys.stdin))
    except UserError as error:
        sys.stderr.write(f"{last_line(error)}\n")
        sys.exit(error.code)
    except Exception as error:
        if code_of(error) != ExitCode.OUT_OF_MEMORY:
            raise
        sys.exit(ExitCode.OUT_OF_MEMORY)


def main() -> None:
    """Import the module that the command names and have it answer."""
    quiet_whole_process()
    gc.disable()  # the process imports, computes little and ends
    serve(importlib.import_module(sys.argv[1]).answer)
    leave_garbage_at_exit()


if __name__ == "__main__":
    main()
