"""Seconds of `finewright plan`, all methods, for models from 124 million to 70 billion numbers.

    python benchmarks/plan_time.py [--models gpt2,llama-2-7b,llama-2-70b] [--method all] [--budget 8GB] [--runs 3]

Three clocks, each in new processes: around the planning alone, once everything it imports is loaded; around the whole
command, as a person waits for it; and around the same command again, when what was traced is found in the cache. The least
of the runs counts: others at work on the machine only ever add.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time

IMPORTED = (
    "finewright.planning.report",
    "finewright.models.adapters.lora",
    "finewright.models.adapters.sliced",
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
    found = api.plan(model=model, method=method, options={"memory_budget": budget})
    seconds = time.perf_counter() - began
    assert found.entries, "nothing was planned"
    return seconds


def whole(model: str, *, method: str, budget: str, cache: str) -> float:
    """Seconds of the command in a process of its own."""
    words = ["plan", "--model", model, "--method", method, "--budget", budget, "--json"]
    began = time.perf_counter()
    outcome = _run(["-m", "finewright.cli.main", *words], cache=cache)
    seconds = time.perf_counter() - began
    assert json.loads(outcome)["plans"], "nothing was planned"
    return seconds


def apart(model: str, *, method: str, budget: str, cache: str) -> float:
    """`inside`, in a process of its own: rates that an earlier run measured would make it look faster."""
    return float(_run([__file__, "--inside", model, "--method", method, "--budget", budget], cache=cache))


def _run(words: list[str], *, cache: str) -> str:
    environment = {**os.environ, "FINEWRIGHT_CACHE": cache}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, env=environment).stdout


def measure(model: str, **given: str) -> tuple[float, float, float]:
    """Seconds after imports, of the command, and of the command again."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        alone = apart(model, cache=one, **given)
        return alone, whole(model, cache=other, **given), whole(model, cache=other, **given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt2,llama-2-7b,llama-2-70b")
    parser.add_argument("--method", default="all")
    parser.add_argument("--budget", default="8GB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--inside", metavar="MODEL", help="plan this one here and print the seconds")
    arguments = parser.parse_args()
    given = {"method": arguments.method, "memory_budget": arguments.budget}
    if arguments.inside:
        print(inside(arguments.inside, **given))
        return
    print("| model | s after imports | s of the command | s of the same again |\n|---|---|---|---|")
    for model in arguments.models.split(","):
        least = map(min, zip(*(measure(model, **given) for _ in range(arguments.runs)), strict=True))
        print(f"| {model} | " + " | ".join(f"{seconds:.1f}" for seconds in least) + " |", flush=True)


if __name__ == "__main__":
    main()
