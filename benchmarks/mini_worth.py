"""What the embedded model's pre-training is worth: `full` and `lora` from it against `scratch`, with few and more rows.

    python benchmarks/mini_worth.py --data DIR [--data DIR] --out FILE.jsonl [--model DIR] [--seeds 5] [--first-seed 0]
                                    [--sizes 200,1000]
    python benchmarks/mini_worth.py --table FILE.jsonl

A seed draws the training rows, and 300 others for validation, from the training and validation files together; every method
gets the same ones. The test file is whole. Each method has its default rate for any model (`mini` suggests higher ones for
itself) and one thread. Runs already in FILE are skipped.
"""

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

from finewright_runs import read_lines

METHODS = ("full", "lora", "scratch")
VALIDATION_ROWS = 300


def read_rows(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """(all rows that may be trained on, the test rows)"""
    from finewright.data import readers

    splits: dict[str, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}
    for name, rows in splits.items():
        for path in sorted(folder.glob(f"{name}.*")):
            records, _ = readers.read_records(path)
            rows += [{key: str(record.values[key]) for key in ("text", "label")} for record in records]
    return splits["train"] + splits["validation"], splits["test"]


def draw(folder: Path, *, size: int, seed: int, into: Path) -> None:
    rows, test = read_rows(folder)
    dice, labels = random.Random(seed), {row["label"] for row in rows}
    dice.shuffle(rows)
    while {row["label"] for row in rows[:size]} != labels:  # a rare label may be missing in so few rows: draw again
        dice.shuffle(rows)
    validation = rows[size : size + VALIDATION_ROWS]
    for name, split in (("train", rows[:size]), ("validation", validation), ("test", test)):
        (into / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in split), encoding="utf-8")


def measure(arguments: argparse.Namespace) -> None:
    import finewright
    from finewright import methods

    done = {tuple(line[key] for key in ("data", "size", "seed", "method")) for line in read_lines(arguments.out)}
    for seed in range(arguments.first_seed, arguments.seeds):
        for data in arguments.data:
            for size in map(int, arguments.sizes.split(",")):
                for method in METHODS:
                    if (data.name, size, seed, method) in done:
                        continue
                    with tempfile.TemporaryDirectory() as place:
                        rows, out = Path(place) / data.name, Path(place) / "run"
                        rows.mkdir()
                        draw(data, size=size, seed=seed, into=rows)
                        options = {
                            "seed": seed,
                            "training.num_threads": 1,
                            "training.early_stopping_patience": 0,
                            "training.learning_rate": methods.get_method(method).learning_rate,
                        }
                        run = finewright.train(rows, model=arguments.model, method=method, output_dir=out, options=options)
                        accuracy, seconds = run.result.metrics.test.accuracy, run.result.train_seconds
                    found = {"data": data.name, "size": size, "seed": seed, "method": method, "accuracy": accuracy}
                    with arguments.out.open("a", encoding="utf-8") as handle:
                        handle.write(json.dumps({**found, "train_seconds": seconds}) + "\n")


def table(path: Path) -> None:
    found = read_lines(path)
    print("| data | rows | " + " | ".join(METHODS) + " | full − scratch | lora − scratch | seeds |")
    print("|---|---|" + "---|" * (len(METHODS) + 3))
    for data, size in sorted({(line["data"], line["size"]) for line in found}):
        part = [line for line in found if (line["data"], line["size"]) == (data, size)]
        scores = {
            method_name: [100 * line["accuracy"] for line in part if line["method"] == method_name] for method_name in METHODS
        }
        mean = {method_name: statistics.mean(values) for method_name, values in scores.items()}
        cells = [f"{mean[method_name]:.1f} ({min(values):.1f}–{max(values):.1f})" for method_name, values in scores.items()]
        margins = [f"{mean[method_name] - mean['scratch']:+.1f}" for method_name in METHODS[:2]]
        print(f"| {data} | {size:,} | " + " | ".join([*cells, *margins, str(len(scores["scratch"]))]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sizes", default="200,1000")
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.table)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
