"""One measurement in a process of its own: what the benchmarks of speed run by turns."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def cell(script: str, words: Sequence[str], *, store: str, threads: int = 1, python: str = sys.executable) -> dict[str, Any]:
    """What `script --cell …` prints last, as JSON; shown on standard error too.

    `store`: the cache, an empty folder where nothing must be found that an earlier one kept. `python`: that runs the script.
    """
    told = json.loads(run([script, *words], store=store, threads=threads, python=python).splitlines()[-1])
    print(json.dumps(told), file=sys.stderr, flush=True)
    return told


def run(command: Sequence[str], *, store: str, threads: int = 1, python: str = sys.executable) -> str:
    """Standard output of a script in a process of its own."""
    own = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "FINEWRIGHT_CACHE": store}
    outcome = subprocess.run([python, *command], env={**os.environ, **own}, check=True, stdout=subprocess.PIPE, text=True)
    return outcome.stdout


def cpu_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
