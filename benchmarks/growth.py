"""How cost grows: with rows, length of the texts, classes and model; and a million rows read, checked, tokenised and planned.

    python benchmarks/growth.py [--axis rows --axis length …] [--method lora] [--steps 4] [--seconds 5] [--out FILE.json]

One child process per cell, one thread, CPU-seconds: of so many updates, and of more until the seconds are over; the median
and the middle half of them. `theory` is what the arithmetic of the products says against the axis's first cell: flat in rows,
nearly so in classes, a little more with longer texts for attention, and in step with the numbers in the layers for another
model. The million rows are the embedded messages, each with a number of its own, on their way through the modules that a run
takes before its first update.
"""

import argparse
import csv
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import children

AXES: dict[str, tuple[int, ...]] = {
    "rows": (1_000, 10_000, 100_000),
    "length": (32, 64, 128, 256, 512),
    "classes": (2, 10, 100, 1_000),
    "model": (128, 256, 512, 768),
    "million": (1_000_000,),
    "million-csv": (1_000_000,),
}
BLOCKS = {128: 4, 256: 6, 512: 8, 768: 12}
"""Of a network of each width; the last is GPT-2 small."""
WIDTH, LABELS, NUM_TEXTS, VOCABULARY = 768, 6, 1_000, 50257
SMALL_VOCABULARY = 8_192
"""Of the narrowest network, which has 2 M numbers with it."""


def resident_bytes() -> int:
    """Most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def texts(axis: str, size: int, *, vocabulary: int) -> Any:
    """Random tokens, as frequent as words are, in one array: memory is not to grow with lists that a run would not have."""
    import numpy as np
    import speed

    from finewright.data.tokenization import TokenRows

    random, num_texts = np.random.default_rng(0), size if axis == "rows" else NUM_TEXTS
    spread = np.exp(speed.SPREAD * random.standard_normal(num_texts))
    lengths = np.clip(np.round(speed.MEDIAN_TOKENS * spread), 3, speed.MOST_TOKENS).astype(np.int32)
    if axis == "length":
        lengths = np.full(num_texts, size, dtype=np.int32)
    elif axis == "classes":
        lengths = np.repeat(lengths, 2)  # of each class a text
    flat = np.empty(lengths.sum(), dtype=np.int32)
    for start in range(0, len(flat), 1 << 20):
        part = flat[start : start + (1 << 20)]
        part[:] = random.zipf(1.3, len(part)) % vocabulary
    return TokenRows(flat, lengths)


def train(axis: str, size: int, *, method: str, num_steps: int, least_seconds: float) -> dict[str, Any]:
    """Some updates of a network with random weights on texts of random tokens."""
    import engine_steps
    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.set_num_threads(1)
    torch.manual_seed(0)
    width, labels = size if axis == "model" else WIDTH, size if axis == "classes" else LABELS
    vocabulary = SMALL_VOCABULARY if width == min(BLOCKS) else VOCABULARY
    shape = {"n_embd": width, "n_layer": BLOCKS[width], "n_head": width // 64, "num_labels": labels, "vocab_size": vocabulary}
    net = GPT2ForSequenceClassification(GPT2Config(**shape, bos_token_id=0, eos_token_id=0, pad_token_id=0, use_cache=False))
    ids = texts(axis, size, vocabulary=vocabulary)
    numbers, weights = (sum(p.numel() for p in part.parameters()) for part in (net, net.transformer.h))
    before = resident_bytes()
    counts = {"num_labels": labels, "num_steps": num_steps, "least_seconds": least_seconds}
    told = engine_steps.measure(net, ids, method=method, options={}, **counts)
    sizes = ids.lengths.astype(np.int64)
    length = float((sizes**2).sum() / sizes.sum())  # tokens that a token sees, on average
    products = 2 * weights + 4 * BLOCKS[width] * width * length
    steps = np.array(told.pop("step_cpu_seconds")) / np.array(told.pop("step_tokens")) * 1e6
    low, middle, high = np.percentile(steps, [25, 50, 75]).tolist()
    rates = {"us_per_token": middle, "us_per_token_middle_half": [low, high], "steps": len(steps), "parameters": numbers}
    return told | rates | {"flops": products, "resident_bytes": resident_bytes(), "before_bytes": before}


def write(file: Path, num_rows: int) -> None:
    """The embedded messages over and over, each with a number of its own."""
    from finewright.core import assets
    from finewright.data import readers

    records, _ = readers.read_records(assets.TICKETS / "train.csv")
    rows = [(str(record.values["text"]), str(record.values["label"])) for record in records]
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        if file.suffix == ".csv":
            writer.writerow(("text", "label"))
        for number in range(num_rows):
            text, label = rows[number % len(rows)]
            if file.suffix == ".csv":
                writer.writerow((f"{text} {number}", label))
            else:
                handle.write(json.dumps({"text": f"{text} {number}", "label": label}, ensure_ascii=False) + "\n")


def million(num_rows: int, *, name: str, method: str) -> dict[str, Any]:
    """From a file to the plan of every update and the facts of a run, as `train` does it, each part on its own clock."""
    from finewright import methods
    from finewright.core import hardware
    from finewright.core.config import RunConfig
    from finewright.data import checks
    from finewright.data import dataset as dataset_module
    from finewright.models import hub
    from finewright.planning import method_plan
    from finewright.runs import fingerprint
    from finewright.tasks.text_classification import TextClassification

    seconds: dict[str, float] = {}
    resident: dict[str, int] = {}

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def do(*words: Any, **extra: Any) -> Any:
            began = time.process_time()
            made = work(*words, **extra)
            seconds[part] = time.process_time() - began
            resident[part] = resident_bytes()
            return made

        return do

    settings, source, method_name = RunConfig(), hub.resolve_model("mini"), methods.build_method(method, {})
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / name
        write(file, num_rows)
        before, num_bytes = resident_bytes(), file.stat().st_size
        dataset = timed("reading", dataset_module.read_dataset)(file, options=settings.data)
        task = TextClassification(dataset.labels)
        timed("checking", task.check_dataset)(dataset)
        told = {"settings": settings, "machine": hardware.detect(), "dataset": dataset, "task": task}
        with mock.patch.object(method_plan, "encode_splits", timed("tokenising", method_plan.encode_splits)):
            found = timed("planning", method_plan.plan_method)(source, method_name, **told, report=checks.raise_on_errors)
        known = {"source": source, "dataset": dataset, "settings": settings, "method": method_name, "device": "cpu"}
        timed("hashing", fingerprint.make_fingerprint)(splits=found.splits, **known)
    seconds["planning"] -= seconds["tokenising"]
    sizes = {"tokens": sum(sum(one.lengths) for one in found.splits.values()), "file_bytes": num_bytes}
    sizes |= {"before_bytes": before, "resident_bytes": resident_bytes(), "updates": len(found.training_plan.schedule.steps)}
    total = sum(seconds.values())
    return sizes | {
        "cpu_seconds": total,
        "parts": seconds,
        "resident_by_part": resident,
        "us_per_token": total / sizes["tokens"] * 1e6,
    }


def cell(axis: str, size: int, *, method: str, num_steps: int, least_seconds: float) -> dict[str, Any]:
    """One measurement, in this process."""
    if axis.startswith("million"):
        return {"axis": axis, "size": size, **million(size, name=f"rows.{'csv' if 'csv' in axis else 'jsonl'}", method=method)}
    return {"axis": axis, "size": size, **train(axis, size, method=method, num_steps=num_steps, least_seconds=least_seconds)}


def show(cells: list[dict[str, Any]]) -> None:
    """Each axis against its first cell, and the million rows by part."""
    print("| axis | size | µs a token: median (middle half, updates) | against the first | theory | preparing, s | resident MB |")
    print("|---|---|---|---|---|---|---|")
    for one in (one for one in cells if not one["axis"].startswith("million")):
        first = next(other for other in cells if other["axis"] == one["axis"])
        times, theory = one["us_per_token"] / first["us_per_token"], one["flops"] / first["flops"]
        preparing, resident = one["preparing_cpu_seconds"], one["resident_bytes"] / 1e6
        low, high = one["us_per_token_middle_half"]
        spread = f"{one['us_per_token']:,.0f} ({low:,.0f}–{high:,.0f}, {one['steps']})"
        size = f"{one['size']:,}" + (f" ({one['parameters'] / 1e6:,.0f} M)" if one["axis"] == "model" else "")
        print(f"| {one['axis']} | {size} | {spread} | {times:.2f} × | {theory:.2f} × | {preparing:.1f} | {resident:,.0f} |")
    for one in (one for one in cells if one["axis"].startswith("million")):
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in one["parts"].items())
        rate, kind = one["tokens"] / one["cpu_seconds"], one["axis"].removeprefix("million-") if "-" in one["axis"] else "jsonl"
        print(f"\n{one['size']:,} rows of {kind}, {one['file_bytes'] / 1e6:,.0f} MB, {one['tokens']:,} tokens: {parts};")
        total, before = one["resident_bytes"] / 1e9, one["before_bytes"] / 1e9
        print(f"{rate:,.0f} tokens per CPU-second, {total:.2f} GB of memory in all, {before:.2f} GB of it before the first row")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", action="append", choices=list(AXES))
    parser.add_argument("--method", default="lora")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        axis, size = arguments.cell
        counts = {"num_steps": arguments.steps, "least_seconds": arguments.seconds}
        print(json.dumps(cell(axis, int(size), method=arguments.method, **counts)))
        return
    from finewright.core import hardware

    cells: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as store:
        for axis in arguments.axis or AXES:
            for size in AXES[axis]:
                words = ["--method", arguments.method, "--steps", str(arguments.steps), "--seconds", str(arguments.seconds)]
                words += ["--cell", axis, str(size)]
                cells.append(children.cell(__file__, words, store=store))
    environment = hardware.environment()
    print(json.dumps(environment))
    show(cells)
    if arguments.out:
        arguments.out.write_text(json.dumps({"environment": environment, "cells": cells}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
