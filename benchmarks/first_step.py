"""Measure the time from the start of the program to the first update of LoRA, by where the model comes from.

    python benchmarks/first_step.py DATA MODEL… [--rounds 3] [--fresh]

Each round is a new process. `--fresh`: with an empty cache, so that a GGUF file is converted. Prints the median of wall-clock and
of processor time; on a busy machine only the second means anything.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHILD = """
import os, sys, time
start = time.perf_counter()
from pathlib import Path
from finewright import methods
from finewright.core import events
from finewright.core.config import RunConfig, build_options
from finewright.runs import pipeline

def stop(event):
    if isinstance(event, events.StepCompleted):
        print(time.perf_counter() - start, time.process_time(), flush=True)
        os._exit(0)

training = {"head_start": "random", "max_steps": 2, "num_threads": 1}
settings = build_options(RunConfig, {"model": sys.argv[2], "training": training})
method = methods.build_method("lora", {})
pipeline.train(Path(sys.argv[1]), settings=settings, candidates=[method], out=Path(sys.argv[3]), on_event=stop, stop=None)
"""


def measure(data: str, model: str, *, folder: Path, fresh: bool) -> tuple[float, float]:
    """Return (wall-clock, processor) seconds of one process."""
    cache = {"FINEWRIGHT_CACHE": str(folder / "cache")} if fresh else {}
    command = [sys.executable, "-c", CHILD, data, model, str(folder / "run")]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"} | cache, stdout=subprocess.PIPE, text=True, check=True
    )
    wall, processor = done.stdout.split()[-2:]
    return float(wall), float(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fresh", action="store_true")
    asked = parser.parse_args()
    for model in asked.models:
        found = []
        for _ in range(asked.rounds):
            with tempfile.TemporaryDirectory() as folder:
                found.append(measure(asked.data, model, folder=Path(folder), fresh=asked.fresh))
        wall, processor = (statistics.median(times) for times in zip(*found, strict=True))
        print(f"{model}: {wall:.1f} s, {processor:.1f} s of the processor")


if __name__ == "__main__":
    main()
