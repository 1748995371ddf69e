"""How cost grows: with rows, length of the texts, classes and model; and a million rows read, checked, tokenised and packed.

    python benchmarks/growth.py [--axis rows --axis length …] [--method lora] [--steps 4] [--out FILE.json]

One child process per cell, one thread, CPU-seconds. `theory` is what the arithmetic of the products says against the axis's
first cell: flat in rows, nearly so in classes, a little more with longer texts for attention, and in step with the numbers in
the blocks for another model. The million rows are the embedded messages, each with a number of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

AXES: dict[str, tuple[int, ...]] = {
    "rows": (1_000, 10_000, 100_000),
    "length": (32, 64, 128, 256, 512),
    "classes": (2, 10, 100, 1_000),
    "model": (128, 256, 512, 768),
    "million": (1_000_000,),
}
BLOCKS = {128: 4, 256: 6, 512: 8, 768: 12}
"""Of a network of each width; the last is GPT-2 small."""
WIDTH, LABELS, NUM_TEXTS, VOCABULARY = 768, 6, 1_000, 50257
CONTENT = Path(__file__).resolve().parent.parent / "src" / "finewright" / "content"


def resident_bytes() -> int:
    """Most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train(axis: str, size: int, *, method: str, num_steps: int) -> dict[str, Any]:
    """Some updates of a network with random weights on texts of random tokens."""
    import engine_steps
    import numpy as np
    import speed
    import torch
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.set_num_threads(1)
    torch.manual_seed(0)
    width, labels = size if axis == "model" else WIDTH, size if axis == "classes" else LABELS
    shape = {"n_embd": width, "n_layer": BLOCKS[width], "n_head": width // 64, "num_labels": labels}
    net = GPT2ForSequenceClassification(GPT2Config(**shape, pad_token_id=0, use_cache=False))
    ids = speed.texts(size if axis == "rows" else NUM_TEXTS)
    if axis == "length":
        ids = (np.random.default_rng(0).zipf(1.3, (NUM_TEXTS, size)) % VOCABULARY).tolist()
    elif axis == "classes":
        ids = [one for one in ids for _ in range(2)]  # of each class a text
    weights = sum(p.numel() for p in net.transformer.h.parameters())
    before = resident_bytes()
    told = engine_steps.measure(net, ids, method=method, knobs={}, num_labels=labels, num_steps=num_steps)
    length = sum(len(one) ** 2 for one in ids) / sum(map(len, ids))  # tokens that a token sees, on average
    products = 2 * weights + 4 * BLOCKS[width] * width * length
    return told | {"flops": products, "resident_bytes": resident_bytes(), "before_bytes": before}


def million(num_rows: int) -> dict[str, Any]:
    """Text to packed batches, each part on its own clock."""
    from transformers import AutoTokenizer

    from finewright import batches, checks, data, formats
    from finewright.config import DataKnobs

    tokenizer = AutoTokenizer.from_pretrained(CONTENT / "mini")
    records, _ = formats.read(CONTENT / "tickets" / "train.csv")
    rows = [(str(record.values["text"]), str(record.values["label"])) for record in records]
    tokenizer(rows[0][0])
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "million.jsonl"
        with file.open("w", encoding="utf-8") as handle:
            for number in range(num_rows):
                text, label = rows[number % len(rows)]
                handle.write(json.dumps({"text": f"{text} {number}", "label": label}) + "\n")
        del records, rows
        before, marks = resident_bytes(), [time.process_time()]
        dataset = data.read(file, knobs=DataKnobs())
        marks.append(time.process_time())
        checks.look(dataset)
        marks.append(time.process_time())
        task = {label: number for number, label in enumerate(dataset.labels)}
        splits = (dataset.train, dataset.validation, dataset.test)
        encoded = [
            batches.encode(tokenizer, [row.text for row in split], targets=[task[row.label] for row in split], limit=512)
            for split in splits
        ]
        marks.append(time.process_time())
        lengths = encoded[0].lengths
        batches.steps(lengths, budget=batches.choose_budget(lengths)[0], accumulation=1, seed=0, epochs=1)
        marks.append(time.process_time())
        num_bytes = file.stat().st_size
    parts = [later - earlier for earlier, later in zip(marks, marks[1:], strict=False)]
    named = dict(zip(("reading", "checking", "tokenising", "packing"), parts, strict=True))
    told = {
        "tokens": sum(sum(one.lengths) for one in encoded),
        "cpu_seconds": sum(parts),
        "parts": named,
        "file_bytes": num_bytes,
    }
    return told | {"resident_bytes": resident_bytes(), "before_bytes": before}


def cell(axis: str, size: int, *, method: str, num_steps: int) -> dict[str, Any]:
    """One measurement, in this process."""
    told = million(size) if axis == "million" else train(axis, size, method=method, num_steps=num_steps)
    return {"axis": axis, "size": size, **told, "us_per_token": told["cpu_seconds"] / told["tokens"] * 1e6}


def show(cells: list[dict[str, Any]]) -> None:
    """Each axis against its first cell, and the million rows by part."""
    print("| axis | size | µs a token | against the first | theory | preparing, s | resident MB |")
    print("|---|---|---|---|---|---|---|")
    for one in (one for one in cells if one["axis"] != "million"):
        first = next(other for other in cells if other["axis"] == one["axis"])
        times, theory = one["us_per_token"] / first["us_per_token"], one["flops"] / first["flops"]
        preparing, resident = one["preparing_cpu_seconds"], one["resident_bytes"] / 1e6
        line = f"{one['us_per_token']:,.0f} | {times:.2f} × | {theory:.2f} × | {preparing:.1f} | {resident:,.0f}"
        print(f"| {one['axis']} | {one['size']:,} | {line} |")
    for one in (one for one in cells if one["axis"] == "million"):
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in one["parts"].items())
        memory = (one["resident_bytes"] - one["before_bytes"]) / 1e9
        rate = one["tokens"] / one["cpu_seconds"]
        print(f"\n{one['size']:,} rows, {one['file_bytes'] / 1e6:,.0f} MB, {one['tokens']:,} tokens: {parts};")
        print(f"{rate:,.0f} tokens per CPU-second, {memory:.2f} GB of memory beyond what the program takes")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", action="append", choices=list(AXES))
    parser.add_argument("--method", default="lora")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        axis, size = arguments.cell
        print(json.dumps(cell(axis, int(size), method=arguments.method, num_steps=arguments.steps)))
        return
    from finewright import hardware

    cells: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as store:
        own = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "FINEWRIGHT_CACHE": store}
        for axis in arguments.axis or AXES:
            for size in AXES[axis]:
                words = ["--method", arguments.method, "--steps", str(arguments.steps), "--cell", axis, str(size)]
                told = subprocess.run([sys.executable, __file__, *words], env=own, check=True, stdout=subprocess.PIPE, text=True)
                cells.append(json.loads(told.stdout.splitlines()[-1]))
                print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
    environment = hardware.environment()
    print(json.dumps(environment))
    show(cells)
    if arguments.out:
        arguments.out.write_text(json.dumps({"environment": environment, "cells": cells}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
