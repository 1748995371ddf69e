"""Loss while training with frozen weights in bfloat16 and in float32, beside what another seed does; a real pre-trained model.

    python benchmarks/precision_curves.py --model DIR --data DIR --out FILE.jsonl [--methods lora,freeze] [--seeds 3]
    python benchmarks/precision_curves.py --table FILE.jsonl

Both precisions see the same rows in the same order, and draw the same dropout. Runs already in FILE are skipped.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from finewright_runs import append_line, read_lines

PRECISIONS = ("float32", "bfloat16")
WINDOW = 25
"""Updates whose mean loss is one figure: a single batch's says little."""


def run(arguments: argparse.Namespace, method: str, precision: str, seed: int) -> dict[str, Any]:
    """The loss of every update, and the accuracy on validation at the end."""
    import finewright

    losses: list[float] = []

    def on_event(event: Any) -> None:
        if type(event).__name__ == "Stepped":
            losses.append(event.result.loss)

    options = {
        "seed": seed,
        "training.precision": precision,
        "training.max_steps": arguments.steps,
        "training.early_stopping_patience": 0,
    }
    options |= {"training.epochs": arguments.epochs, "training.num_threads": 1}
    with tempfile.TemporaryDirectory() as place:
        done = finewright.train(
            arguments.data, model=arguments.model, method=method, output_dir=f"{place}/run", options=options, callbacks=[on_event]
        )
        accuracy = done.result.metrics.validation.accuracy
    model, data = Path(arguments.model).name, Path(arguments.data).name
    told = {"model": model, "data": data, "method": method, "precision": precision, "seed": seed}
    return told | {"losses": losses, "accuracy": accuracy}


def windows(losses: list[float]) -> list[float]:
    """Mean loss of every WINDOW updates."""
    return [statistics.mean(losses[start : start + WINDOW]) for start in range(0, len(losses) - WINDOW + 1, WINDOW)]


def table(lines: list[dict[str, Any]]) -> None:
    """Per method: how far the precisions lie apart with one seed, and how far seeds lie apart with one precision."""
    print(
        "| model, data, method | updates | float32 | bfloat16 | apart, one seed: mean, most | seeds apart, float32: mean, least |"
    )
    print("|---|---|---|---|---|---|")
    for group in dict.fromkeys((line["model"], line["data"], line["method"]) for line in lines):
        of = {(line["precision"], line["seed"]): line for line in lines if (line["model"], line["data"], line["method"]) == group}
        seeds = sorted({seed for _, seed in of})
        curves = {key: windows(line["losses"]) for key, line in of.items()}
        for place in range(len(curves["float32", seeds[0]])):
            single, half = ([curves[precision, seed][place] for seed in seeds] for precision in PRECISIONS)
            apart = [abs(one - other) for one, other in zip(single, half, strict=True)]
            spread = [abs(one - other) for number, one in enumerate(single) for other in single[number + 1 :]]
            first = f"{place * WINDOW + 1}–{(place + 1) * WINDOW}"
            means = f"{statistics.mean(single):.3f} | {statistics.mean(half):.3f}"
            between = f"{statistics.mean(apart):.4f} ({max(apart):.4f}) | {statistics.mean(spread):.4f} ({min(spread):.4f})"
            print(f"| {', '.join(group) if not place else ''} | {first} | {means} | {between} |")
        final = [", ".join(f"{of[precision, seed]['accuracy']:.1%}" for seed in seeds) for precision in PRECISIONS]
        print(f"| | accuracy on validation | {final[0]} | {final[1]} | | |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--methods", default="lora,freeze")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.table:
        table(read_lines(arguments.table))
        return
    if arguments.cell:
        method, precision, seed = arguments.cell
        append_line(arguments.out, run(arguments, method, precision, int(seed)))
        return
    known = [tuple(line[key] for key in ("data", "model", "method", "precision", "seed")) for line in read_lines(arguments.out)]
    for method in arguments.methods.split(","):
        for seed in range(arguments.seeds):
            for precision in PRECISIONS:
                if (Path(arguments.data).name, Path(arguments.model).name, method, precision, seed) in known:
                    continue
                words = [*sys.argv[1:], "--cell", method, precision, str(seed)]
                subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
