"""How accurate the defaults are on small data, against the usual alternatives on the same rows.

    python benchmarks/accuracy.py --data DIR [--data DIR] --model DIR [--model mini] --out FILE.jsonl [--seeds 3] [--first-seed 0]
                                  [--sizes 8-a-label,64-a-label,1000,all] [--only KEY=VALUE,…] [--max-test N]
                                  [--setfit [--setfit-python PYTHON] [--setfit-steps N]]
    python benchmarks/accuracy.py --table FILE.jsonl
    python benchmarks/accuracy.py --summary FILE.jsonl

`8-a-label`: a seed draws so many rows of each label from the training file, and nobody gets others: who wants validation rows
takes them from these. `1000`: a seed draws that many rows, and 300 others for validation, from the training and validation files
together. `all`: the whole training file, and 300 rows drawn from the validation file (without one, from the training file,
which then lacks them). The test file is whole, or a fixed sample of `--max-test` rows. Every contestant of
`accuracy_contestants.py` gets the same rows, one thread and a process of its own; the CPU-seconds are those of the whole process,
loading the libraries included. SetFit runs with `--setfit`, in `--setfit-python` where it needs other libraries;
`--setfit-steps` ends it early, which is not its default. `--only data=trec6|tickets,size=all,method=auto` filters by data, size,
seed, model or method. Runs already in FILE are skipped. `--table` prints every contestant of every cell, `--summary` one line a
cell; both are Markdown.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accuracy_table
from accuracy_contestants import CONTESTANTS, WITHOUT_MODEL
from children import cell, cpu_seconds
from drawn_rows import PER_LABEL, VALIDATION_ROWS, Rows, draw_number, first_of_each_label, read_splits, write_splits
from finewright_runs import append_line, read_lines

SIZES = ("8-a-label", "64-a-label", "1000", "all")
KEY = ("data", "size", "max_test", "seed", "model", "method")
SCRIPT = str(Path(__file__).with_name("accuracy_contestants.py"))
TEST_SEED = 0
"""Of the sample of the test rows: the same ones whatever the seed of a run, as rows are compared over seeds."""


def draw(folder: Path, *, size: str, seed: int, max_test: int) -> dict[str, Rows]:
    """The splits of one run: see above."""
    rows, validation, test = read_splits(folder)
    if size.endswith(PER_LABEL):
        random.Random(seed).shuffle(rows)
        rows, validation = first_of_each_label(rows, int(size.removesuffix(PER_LABEL))), []
    elif size != "all":
        rows, validation = draw_number(rows + validation, int(size), seed=seed)
    elif validation:
        random.Random(seed).shuffle(validation)
        validation = validation[:VALIDATION_ROWS]
    else:
        rows, validation = draw_number(rows, len(rows) - VALIDATION_ROWS, seed=seed)
    if 0 < max_test < len(test):
        test = [test[index] for index in sorted(random.Random(TEST_SEED).sample(range(len(test)), max_test))]
    return {"train": rows, "validation": validation, "test": test}


def wanted_cells(arguments: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Path, str]]:
    """(The key of a run, its data folder, its model) of all that were asked for, all contestants of the same rows in turn."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    methods = [name for name in CONTESTANTS if name != "setfit" or arguments.setfit]
    given = set()
    for seed, data, size, model, method in itertools.product(
        seeds, arguments.data, arguments.sizes.split(","), arguments.model, methods
    ):
        read = "" if method in WITHOUT_MODEL else model
        key = {"data": data.name, "size": size, "max_test": arguments.max_test, "seed": seed}
        key |= {"model": Path(read).name, "method": method}
        if tuple(key.values()) not in given and all(str(key[name]) in values for name, values in arguments.only.items()):
            given.add(tuple(key.values()))
            yield key, data, read


def measure(arguments: argparse.Namespace) -> int:
    """Run what is not yet in the file; return how many runs failed."""
    done, failed = {tuple(line[name] for name in KEY) for line in read_lines(arguments.out)}, 0
    for key, data, model in wanted_cells(arguments):
        if tuple(key.values()) in done:
            continue
        try:
            found = run_one(key, data, model, arguments)
        except subprocess.CalledProcessError:
            failed += 1
            print(f"failed, and is not in the file: {key}", file=sys.stderr)
            continue
        append_line(arguments.out, {**key, **found})
    return failed


def run_one(key: dict[str, Any], data: Path, model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What came of one run in a process of its own, and the CPU-seconds it took."""
    from finewright.models.hub import resolve_model

    splits = draw(data, size=key["size"], seed=key["seed"], max_test=key["max_test"])
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as nothing_kept:
        write_splits(splits, Path(place))
        told = {"method": key["method"], "folder": place, "model": str(resolve_model(model).path) if model else ""}
        told |= {"seed": key["seed"], "setfit_steps": arguments.setfit_steps}
        python = arguments.setfit_python if key["method"] == "setfit" else sys.executable
        before = cpu_seconds()
        found = cell(SCRIPT, [json.dumps(told)], store=nothing_kept, python=python)
    counts = {f"{name}_rows": len(rows) for name, rows in splits.items()}
    return {"cpu_seconds": round(cpu_seconds() - before, 2), **counts, **found}


def read_filter(text: str) -> dict[str, set[str]]:
    """`data=trec6|tickets,method=auto` as the values that each key may have."""
    chosen = {}
    for part in text.split(","):
        name, equals, values = part.partition("=")
        if not equals or name not in KEY:
            raise argparse.ArgumentTypeError(f"{part!r}, wanted one of {', '.join(KEY)}, then = and values with | between them")
        chosen[name] = set(values.split("|"))
    return chosen


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--only", type=read_filter, default={})
    parser.add_argument("--max-test", type=int, default=0)
    parser.add_argument("--setfit", action="store_true")
    parser.add_argument("--setfit-python", default=sys.executable)
    parser.add_argument("--setfit-steps", type=int, default=-1)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--summary", type=Path)
    arguments = parser.parse_args()
    if arguments.table or arguments.summary:
        show = accuracy_table.table if arguments.table else accuracy_table.summary
        print("\n".join(show(read_lines(arguments.table or arguments.summary))))
        return
    if not (arguments.out and arguments.data and arguments.model):
        parser.error("wanted --data, --model and --out, or --table or --summary")
    sys.exit(min(1, measure(arguments)))


if __name__ == "__main__":
    main()
