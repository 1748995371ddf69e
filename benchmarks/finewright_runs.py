"""Finewright with its defaults on the same rows as `trainer_baseline.py`, and both side by side as a table.

    python benchmarks/finewright_runs.py --model DIR --data DIR [--data DIR] --out FILE.jsonl [--runs FOLDER]
    python benchmarks/finewright_runs.py --table FILE.jsonl TRAINER.jsonl

One child process per run, one thread. Runs already in FILE are skipped. Both clocks run over all of training: ours from before
the frozen layers are run over the texts to the last look at validation, the Trainer's over `train()`. Memory is the most that
each process was resident with; `tensors` is the peak of the tensors in training alone, which our plan speaks of.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_line(path: Path, line: dict) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(line) + "\n")


@contextlib.contextmanager
def clock() -> Iterator[list[float]]:
    """Inside, the list gets the process's CPU-seconds when training begins, frozen layers included."""
    from finewright.runs import stages

    began: list[float] = []
    fill = stages.build_frozen_cache

    def timed(*given: Any) -> None:
        began.append(time.process_time())
        fill(*given)

    with mock.patch.object(stages, "build_frozen_cache", timed):
        yield began


def run(arguments: argparse.Namespace) -> dict:
    import finewright

    marks: list[float] = []

    def on_event(event: object) -> None:
        if type(event).__name__ in ("StepCompleted", "EvaluationCompleted", "TrainingStopped"):
            marks.append(time.process_time())

    data = Path(arguments.data[0])
    out = Path(arguments.runs or tempfile.mkdtemp()) / f"{data.name}-{arguments.method}-{arguments.seed}"
    options = {"seed": arguments.seed, "training.num_threads": 1, "training.early_stopping_patience": 0}
    with clock() as began:
        done = finewright.train(
            data, model=arguments.model, method=arguments.method, output_dir=out, options=options, callbacks=[on_event]
        )
    result = done.result
    test = result.metrics.test.model_dump()
    kept = ("method", "seed", "trainable_parameters", "total_parameters", "train_seconds", "steps", "epochs")
    kept += ("peak_memory_bytes", "peak_resident_bytes")
    return {
        "data": data.name,
        **{key: getattr(result, key) for key in kept},
        "accuracy": test["accuracy"],
        "macro_f1": test["macro_f1"],
        "train_cpu_seconds": marks[-1] - began[0],
        "verification_difference": result.verification_difference,
    }


def table(ours: Path, theirs: Path) -> None:
    """Accuracy as mean and range over seeds, cost as the median, ours beside the Trainer's."""
    print("| data | method | accuracy | Trainer | trained | CPU s | Trainer | resident MB | Trainer | tensors, MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    lines = [read_lines(ours), read_lines(theirs)]
    for data, method in dict.fromkeys((line["data"], line["method"]) for line in lines[0]):
        cells = [[line for line in part if (line["data"], line["method"]) == (data, method)] for part in lines]
        if not all(cells):
            continue

        def median(part: list[dict], key: str) -> float:
            return statistics.median(line[key] for line in part)

        def accuracy(part: list[dict]) -> str:
            values = [line["accuracy"] for line in part]
            return f"{statistics.mean(values):.3f} ({min(values):.3f}–{max(values):.3f}, {len(values)} seeds)"

        share = cells[0][0]["trainable_parameters"] / cells[0][0]["total_parameters"]
        print(
            f"| {data} | {method} | {accuracy(cells[0])} | {accuracy(cells[1])} | {share:.2%} "
            f"| {median(cells[0], 'train_cpu_seconds'):.0f} | {median(cells[1], 'train_cpu_seconds'):.0f} "
            f"| {median(cells[0], 'peak_resident_bytes') / 1e6:.0f} | {median(cells[1], 'peak_resident_bytes') / 1e6:.0f} "
            f"| {median(cells[0], 'peak_memory_bytes') / 1e6:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--data", action="append")
    parser.add_argument("--out")
    parser.add_argument("--runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", nargs=2, type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        table(*arguments.table)
        return
    out = Path(arguments.out)
    if arguments.method:
        append_line(out, run(arguments))
        return
    from finewright import methods

    done = {(line["data"], line["method"], line["seed"]) for line in read_lines(out)}
    for seed in range(arguments.seeds):
        for data in arguments.data:
            for method in methods.method_names():
                if (Path(data).name, method, seed) in done:
                    continue
                command = [sys.executable, __file__, "--model", arguments.model, "--data", data, "--out", arguments.out]
                command += ["--method", method, "--seed", str(seed)] + (["--runs", arguments.runs] if arguments.runs else [])
                subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)


if __name__ == "__main__":
    main()
