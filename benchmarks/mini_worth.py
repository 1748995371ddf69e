"""What the embedded model's pre-training is worth: methods that start from it against some that do not.

    python benchmarks/mini_worth.py --data DIR [--data DIR] --out FILE.jsonl [--model DIR] [--seeds 3] [--first-seed 0]
                                    [--sizes all,1000,5-a-label] [--methods full,lora,frozen-features,bag-of-words]
    python benchmarks/mini_worth.py --table FILE.jsonl

`1000`: a seed draws that many training rows, and 300 others for validation, from the training and validation files together.
`5-a-label`: the first five rows of each label in the training file, and the validation file; with `all`, both files as they
are; a seed is then that of the training alone. Every method gets the same rows; the test file is whole. Everything is at its
default (also the learning rates, which `mini` suggests for itself), with one thread. Runs already in FILE are skipped.
"""

import argparse
import itertools
import statistics
import tempfile
from pathlib import Path
from typing import Any

from drawn_rows import PER_LABEL, draw_number, first_of_each_label, read_splits, write_splits
from finewright_runs import append_line, read_lines

METHODS = ("full", "lora", "frozen-features", "bag-of-words", "scratch")


def draw(folder: Path, *, size: str, seed: int, into: Path) -> None:
    """Write the splits of one run: the rows that `size` names (see above), and the whole test file."""
    rows, validation, test = read_splits(folder)
    if size.endswith(PER_LABEL):
        rows = first_of_each_label(rows, int(size.removesuffix(PER_LABEL)))
    elif size != "all":
        rows, validation = draw_number(rows + validation, int(size), seed=seed)
    write_splits({"train": rows, "validation": validation, "test": test}, into)


def measure(arguments: argparse.Namespace) -> None:
    done = {tuple(line[key] for key in ("data", "size", "seed", "method")) for line in read_lines(arguments.out)}
    cells = itertools.product(
        range(arguments.first_seed, arguments.first_seed + arguments.seeds),
        arguments.data,
        arguments.sizes.split(","),
        arguments.methods.split(","),
    )
    for seed, data, size, method in cells:
        if (data.name, size, seed, method) not in done:
            with tempfile.TemporaryDirectory() as place:
                found = run_one(data, size=size, seed=seed, method=method, model=arguments.model, place=Path(place))
            append_line(arguments.out, found)


def run_one(data: Path, *, size: str, seed: int, method: str, model: str, place: Path) -> dict[str, Any]:
    """One run in the folder `place`, as a line of the output."""
    import finewright
    from finewright import baselines

    rows = place / data.name
    rows.mkdir()
    draw(data, size=size, seed=seed, into=rows)
    options = {"seed": seed} if method in baselines.baseline_names() else {"seed": seed, "training.num_threads": 1}
    run = finewright.train(rows, model=model, method=method, output_dir=place / "run", options=options)
    result = run.result
    found = {"data": data.name, "size": size, "seed": seed, "method": method, "accuracy": result.metrics.test.accuracy}
    return {**found, "train_seconds": result.train_seconds}


def table(path: Path) -> None:
    found = read_lines(path)
    shown = [method for method in METHODS if any(line["method"] == method for line in found)]
    print("| data | rows | " + " | ".join(shown) + " | seeds |")
    print("|---|---|" + "---|" * (len(shown) + 1))
    for data, size in sorted({(line["data"], line["size"]) for line in found}):
        part = [line for line in found if (line["data"], line["size"]) == (data, size)]
        scores = {name: [100 * line["accuracy"] for line in part if line["method"] == name] for name in shown}
        cells = [f"{statistics.mean(v):.1f} ({min(v):.1f}–{max(v):.1f})" if v else "" for v in scores.values()]
        print(f"| {data} | {size} | " + " | ".join(cells) + f" | {max(len(v) for v in scores.values())} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sizes", default="all")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        table(arguments.table)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
