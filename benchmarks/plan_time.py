"""Seconds of `finewright plan`, all ways, for models from 124 million to 70 billion numbers.

    python benchmarks/plan_time.py [--models gpt2,llama-2-7b,llama-2-70b] [--method all] [--budget 8GB] [--runs 3]

Two clocks, each in new processes: around the planning alone, once everything it imports is loaded; and around the whole
command, as a person waits for it. The least of the runs counts: others at work on the machine only ever add.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time

IMPORTED = (
    "finewright.survey",
    "finewright.lowrank",
    "finewright.layers",
    "peft",
    "torch._dynamo",
    "torch._subclasses.fake_tensor",
    "transformers.models.auto.modeling_auto",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
)
"""What planning would otherwise load on the way."""


def inside(model: str, *, method: str, budget: str) -> float:
    """Seconds of planning in this process, imports done before the clock starts."""
    from finewright import api

    for name in IMPORTED:
        importlib.import_module(name)
    began = time.perf_counter()
    found = api.plan(model=model, method=method, knobs={"budget": budget})
    seconds = time.perf_counter() - began
    assert found.entries, "nothing was planned"
    return seconds


def whole(model: str, *, method: str, budget: str) -> float:
    """Seconds of the command in a process of its own."""
    words = ["plan", "--model", model, "--method", method, "--budget", budget, "--json"]
    began = time.perf_counter()
    outcome = subprocess.run([sys.executable, "-m", "finewright.cli", *words], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    assert json.loads(outcome.stdout)["plans"], "nothing was planned"
    return seconds


def apart(model: str, *, method: str, budget: str) -> float:
    """`inside`, in a process of its own: rates and traces that an earlier run left would make it look faster."""
    words = ["--inside", model, "--method", method, "--budget", budget]
    outcome = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return float(outcome.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt2,llama-2-7b,llama-2-70b")
    parser.add_argument("--method", default="all")
    parser.add_argument("--budget", default="8GB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--inside", metavar="MODEL", help="plan this one here and print the seconds")
    arguments = parser.parse_args()
    given = {"method": arguments.method, "budget": arguments.budget}
    if arguments.inside:
        print(inside(arguments.inside, **given))
        return
    print("| model | s after imports | s of the command |\n|---|---|---|")
    for model in arguments.models.split(","):
        alone = min(apart(model, **given) for _ in range(arguments.runs))
        command = min(whole(model, **given) for _ in range(arguments.runs))
        print(f"| {model} | {alone:.1f} | {command:.1f} |", flush=True)


if __name__ == "__main__":
    main()
