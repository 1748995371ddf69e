"""Which evaluation of a run to keep when there are few validation rows, and when to stop: rules compared on the same runs.

    python benchmarks/selection_rules.py --data DIR [--data DIR] --model DIR --out FILE.jsonl [--rows-per-label 64] [--seeds 3]
                                         [--method lora] [--max-test 500] [--epochs N]
    python benchmarks/selection_rules.py --table FILE.jsonl

Every run trains on a drawn set of rows, of which a tenth are held out to validate, without stopping early. At each evaluation the
validation rows and a fixed sample of the test rows are scored. The rules are then applied to what was written down.
"""

import argparse
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from drawn_rows import draw_number, first_of_each_label, read_splits, write_splits
from finewright_runs import append_line, read_lines

TEST_SEED, PATIENCE, LEAST_FALL = 0, 3, 0.01
Evaluations = list[dict[str, Any]]


def record_run(data: Path, arguments: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    """Train once; return what each evaluation says of the validation rows, and the accuracy on the test rows."""
    import finewright
    from finewright.inference import scoring
    from finewright.runs import stages

    rows, validation, test = read_splits(data)
    rows = [*rows, *validation]
    random.Random(seed).shuffle(rows)
    if arguments.rows_per_label:
        train = first_of_each_label(rows, arguments.rows_per_label)
    else:
        train, _ = draw_number(rows, min(arguments.rows, len(rows)), seed=seed)
    chosen = sorted(random.Random(TEST_SEED).sample(range(len(test)), min(arguments.max_test, len(test))))
    found: Evaluations = []
    honest = stages._build_evaluation

    def build(context: Any, ready: Any, opened: Any, splits: Any, *, task: Any) -> Any:
        evaluate = honest(context, ready, opened, splits, task=task)

        def evaluate_both() -> dict[str, Any]:
            metrics = evaluate()
            own = scoring.evaluate_split(ready.model, splits["validation"], task=task)
            other = scoring.evaluate_split(ready.model, splits["test"], task=task)
            _, right = own.row_confidences()
            line = {"losses": own.row_losses().round(5).tolist(), "right": right.astype(int).tolist()}
            found.append(line | {"test_accuracy": other.metrics()["accuracy"], "test_loss": other.metrics()["loss"]})
            return metrics

        return evaluate_both

    with tempfile.TemporaryDirectory() as place, mock.patch.object(stages, "_build_evaluation", build):
        write_splits({"train": train, "test": [test[index] for index in chosen]}, Path(place))
        options = {
            "seed": seed,
            "training.num_threads": 1,
            "training.early_stopping_patience": 0,
            "data.validation_fraction": 0.1,
            **({"training.epochs": arguments.epochs} if arguments.epochs else {}),
        }
        finewright.train(place, model=arguments.model, method=arguments.method, output_dir=Path(place) / "run", options=options)
    return {"rows": len(train), "labels": len({row["label"] for row in train}), "evaluations": found}


def _accuracy(one: dict[str, Any]) -> float:
    return statistics.mean(one["right"])


def _loss(one: dict[str, Any]) -> float:
    return statistics.mean(one["losses"])


def by_metric(found: Evaluations, labels: int, patience: int) -> tuple[int, int]:
    """The highest accuracy; between equal ones the lower loss."""
    best = since = 0
    for place, one in enumerate(found[1:], 1):
        higher, same = _accuracy(one) > _accuracy(found[best]), _accuracy(one) == _accuracy(found[best])
        if higher or (same and _loss(found[best]) - _loss(one) >= LEAST_FALL * math.log(labels)):
            best, since = place, 0
        else:
            since += 1
        if patience and since >= patience:
            return best, place
    return best, len(found) - 1


def by_loss(found: Evaluations, labels: int, patience: int) -> tuple[int, int]:
    """The lowest loss."""
    best = since = 0
    for place, one in enumerate(found[1:], 1):
        if _loss(one) < _loss(found[best]):
            best, since = place, 0
        else:
            since += 1
        if patience and since >= patience:
            return best, place
    return best, len(found) - 1


def _is_worse(one: dict[str, Any], best: dict[str, Any], key: str, errors: float) -> bool:
    """Whether it is worse than the best by more than so many standard errors of the differences of the rows."""
    difference = np.asarray(best[key], dtype=float) - np.asarray(one[key], dtype=float)
    difference = -difference if key == "losses" else difference
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return difference.mean() > errors * error


def latest_not_worse(key: str, errors: float) -> Callable[[Evaluations, int, int], tuple[int, int]]:
    """The latest evaluation that is not clearly worse than the best before it."""

    def rule(found: Evaluations, labels: int, patience: int) -> tuple[int, int]:
        kept = top = since = 0
        for place, one in enumerate(found[1:], 1):
            score = _accuracy if key == "right" else (lambda line: -_loss(line))
            if not _is_worse(one, found[top], key, errors):
                kept, since = place, 0
            else:
                since += 1
            top = place if score(one) >= score(found[top]) else top
            if patience and since >= patience:
                return kept, place
        return kept, len(found) - 1

    return rule


def last(found: Evaluations, labels: int, patience: int) -> tuple[int, int]:
    """The last one."""
    return len(found) - 1, len(found) - 1


def best_of_test(found: Evaluations, labels: int, patience: int) -> tuple[int, int]:
    """The one that is best on the test rows: what no rule can know."""
    return max(range(len(found)), key=lambda place: found[place]["test_accuracy"]), len(found) - 1


RULES: dict[str, tuple[Callable[[Evaluations, int, int], tuple[int, int]], int]] = {
    "metric, then loss; patience 3": (by_metric, PATIENCE),
    "metric, then loss; patience 6": (by_metric, 2 * PATIENCE),
    "metric, then loss; all epochs": (by_metric, 0),
    "loss; patience 3": (by_loss, PATIENCE),
    "loss; all epochs": (by_loss, 0),
    "latest not worse by 1 error of accuracy; patience 3": (latest_not_worse("right", 1.0), PATIENCE),
    "latest not worse by 1 error of accuracy; all epochs": (latest_not_worse("right", 1.0), 0),
    "latest not worse by 2 errors of accuracy; patience 3": (latest_not_worse("right", 2.0), PATIENCE),
    "latest not worse by 1 error of loss; patience 3": (latest_not_worse("losses", 1.0), PATIENCE),
    "last": (last, 0),
    "best on the test rows": (best_of_test, 0),
}


def table(lines: list[dict[str, Any]]) -> list[str]:
    """One Markdown line for each rule: mean test accuracy by data set, and the share of the epochs that it trains."""
    data = sorted({line["data"] for line in lines})
    shown = ["| rule | " + " | ".join(data) + " | mean | share of the epochs |", "|---" * (len(data) + 3) + "|"]
    for name, (rule, patience) in RULES.items():
        cells, everything, shares = [], [], []
        for one in data:
            accuracies = []
            for line in [line for line in lines if line["data"] == one]:
                found = line["evaluations"]
                kept, stopped = rule(found, line["labels"], patience)
                accuracies.append(100 * found[kept]["test_accuracy"])
                shares.append(stopped / (len(found) - 1))
            cells.append(f"{statistics.mean(accuracies):.1f}")
            everything.append(statistics.mean(accuracies))
        shown.append(f"| {name} | {' | '.join(cells)} | {statistics.mean(everything):.1f} | {statistics.mean(shares):.2f} |")
    return shown


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--model")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows-per-label", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-test", type=int, default=500)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(read_lines(arguments.table))))
        return
    if not (arguments.out and arguments.data and arguments.model):
        parser.error("wanted --data, --model and --out, or --table")
    done = {(line["data"], line["method"], line["seed"]) for line in read_lines(arguments.out)}
    for seed in range(arguments.seeds):
        for data in arguments.data:
            if (data.name, arguments.method, seed) in done:
                continue
            found = record_run(data, arguments, seed=seed)
            append_line(arguments.out, {"data": data.name, "method": arguments.method, "seed": seed, **found})


if __name__ == "__main__":
    sys.exit(main())
