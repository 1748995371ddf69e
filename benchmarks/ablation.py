"""What each trick gives alone: the engine's own steps with it switched off, beside the steps with everything on.

    python benchmarks/ablation.py [--rounds 2] [--steps 4] [--method lora …] [--out FILE.json]

Texts and network of `speed.py`, one thread, CPU-seconds, one child process per cell, by turns. A figure above 1 says how many
times slower a step is without the trick. Packing itself cannot be switched off; `speed.py` has the Trainer's padding beside it.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import children

ALL = "everything on"
METHODS = ("lora", "full", "freeze", "prompt")


def switches() -> dict[str, list[Any]]:
    """Name of a trick → what is put in the place of what."""
    import functools

    import torch

    from finewright.core import config, hardware
    from finewright.models import kernels, last_layer, trimmed_embedding

    class Unfused(torch.optim.AdamW):  # a class: what makes an optimizer's state asks of which one it is
        def __init__(self, groups: Any, **given: Any) -> None:
            super().__init__(groups, **{**given, "fused": False})

    return {
        ALL: [],
        "bfloat16": [mock.patch.object(hardware, "choose_precision", return_value=("float32", ""))],
        "frozen matrices packed": [mock.patch.object(kernels, "can_pack", return_value=False)],
        "last layer only where it is read": [mock.patch.object(last_layer, "install_pooled_last_layer", return_value=None)],
        "activations and dropout in one pass": [mock.patch.object(kernels, "fuse", return_value=None)],
        "embeddings only where used": [mock.patch.object(trimmed_embedding, "trim_embedding", return_value=0)],
        "fused optimizer": [mock.patch.object(torch.optim, "AdamW", Unfused)],
        "frozen layers run once": [
            mock.patch("engine_steps.TrainKnobs", functools.partial(config.TrainingConfig, frozen_layer_cache="off"))
        ],
    }


def cell(name: str, method_name: str, num_steps: int) -> dict[str, Any]:
    """One measurement, in this process."""
    import engine_steps
    import speed
    import torch

    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        for patch in switches()[name]:
            stack.enter_context(patch)
        given = {"options": speed.METHODS[method_name], "num_labels": speed.LABELS, "num_steps": num_steps, "least_seconds": 3.0}
        told = engine_steps.measure(speed.network(), speed.texts(), method=method_name, **given)
    return {"without": name, "method_name": method_name, "rate": told["tokens"] / told["cpu_seconds"]}


def show(cells: list[dict[str, Any]]) -> None:
    """Per trick and method: how many times slower without it."""
    rates: dict[tuple[str, str], list[float]] = {}
    for one in cells:
        rates.setdefault((one["without"], one["method_name"]), []).append(one["rate"])
    candidates = list(dict.fromkeys(one["method_name"] for one in cells))
    print("| without | " + " | ".join(candidates) + " |\n|---|" + "---|" * len(candidates))
    for name in dict.fromkeys(one["without"] for one in cells):
        medians = [
            (statistics.median(rates[ALL, method_name]), statistics.median(rates[name, method_name]))
            for method_name in candidates
        ]
        told = [f"{all_on:,.0f} tokens/s" if name == ALL else f"{all_on / less:.2f} ×" for all_on, less in medians]
        print(f"| {name} | " + " | ".join(told) + " |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(*arguments.cell, arguments.steps)))
        return
    cells: list[dict[str, Any]] = []
    names = list(switches())
    for _ in range(arguments.rounds):
        for method_name in arguments.method or METHODS:
            for name in names:
                with tempfile.TemporaryDirectory() as store:  # nothing kept from another cell
                    words = ["--steps", str(arguments.steps), "--cell", name, method_name]
                    cells.append(children.cell(__file__, words, store=store))
                if arguments.out:
                    arguments.out.write_text(json.dumps(cells, indent=1), encoding="utf-8")
    show(cells)


if __name__ == "__main__":
    main()
