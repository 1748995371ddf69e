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
    own = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "FINEWRIGHT_CACHE": store}
    command = [python, script, *words]
    outcome = subprocess.run(command, env={**os.environ, **own}, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(outcome.stdout.splitlines()[-1])
    print(json.dumps(told), file=sys.stderr, flush=True)
    return told


def cpu_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
