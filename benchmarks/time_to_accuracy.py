"""CPU-seconds until validation is as good as Hugging Face Trainer + PEFT ever gets in as many epochs, on the same rows.

    python benchmarks/time_to_accuracy.py --model DIR --data DIR [--data DIR] --out FILE.jsonl [--methods lora,full,…] [--seeds N]
    python benchmarks/time_to_accuracy.py --table FILE.jsonl

A data folder has train and validation files, such as `finewright compare` leaves in its `splits`. One child process for each
run, one thread, in turn: Finewright with its defaults, then the Trainer (bf16, 16 rows a batch) for as many epochs, twice: with
its usual learning rates, and with the rate that Finewright took, which makes it a better Trainer than most people have. Both
cut texts at the same length and look at validation four times an epoch; their clocks run from the first batch on (Finewright's
from before the frozen layers are run over the texts), looks at validation included. Rows already in FILE are skipped. Of several
seeds the table has the median.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from finewright_runs import clock, read_lines
from trainer_baseline import BATCH_ROWS, LEARNING_RATES, MAX_LENGTH, encode, give_padding, make_trainer, prepare

LOOKS = 4
"""At validation in an epoch."""
KEY = ("model", "data", "method", "seed")
WHO = ("finewright", "trainer", "trainer, the same rate")
Look = tuple[float, float]
"""CPU-seconds so far, accuracy on validation."""


def ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """Finewright's looks at validation."""
    import finewright

    looks: list[Look] = []

    def on_event(event: Any) -> None:
        if type(event).__name__ == "Evaluated":
            looks.append((time.process_time() - began[0], event.metrics["accuracy"]))

    options = {"training.num_threads": 1, "training.early_stopping_patience": 0, "training.evals_per_epoch": LOOKS}
    options |= {"seed": arguments.seed, "data.max_length": MAX_LENGTH}
    with tempfile.TemporaryDirectory() as place, clock() as began:
        done = finewright.train(
            arguments.data[0],
            model=arguments.model,
            method=arguments.method,
            output_dir=f"{place}/run",
            options=options,
            callbacks=[on_event],
        )
        chosen, epochs = json.loads(Path(place, "run", "config.json").read_text())["choices"], done.result.epochs
    lr = next(choice["value"] for choice in chosen if choice["option"] == "training.learning_rate")
    return {"looks": looks, "epochs": epochs, "lr": lr}


def theirs(arguments: argparse.Namespace) -> dict[str, Any]:
    """The Trainer's looks at validation."""
    import torch
    from transformers import AutoTokenizer, TrainerCallback, set_seed

    from finewright.core.config import DataConfig
    from finewright.data import dataset as dataset_module
    from finewright.models.hub import resolve_model

    torch.set_num_threads(1)
    set_seed(arguments.seed)
    dataset, model = (
        dataset_module.read_dataset(arguments.data[0], options=DataConfig()),
        str(resolve_model(arguments.model).path),
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = prepare(arguments.method, model, len(dataset.labels))
    give_padding(tokenizer, network)

    def encoded(rows: Any) -> list[dict[str, Any]]:
        return encode(tokenizer, [row.text for row in rows], [row.label for row in rows], labels=dataset.labels)

    looks: list[Look] = []

    class Clock(TrainerCallback):
        def on_evaluate(self, *_: Any, metrics: dict[str, float], **more: Any) -> None:
            looks.append((time.process_time() - began, metrics["eval_accuracy"]))

    with tempfile.TemporaryDirectory() as place:
        trainer = make_trainer(
            network,
            place,
            tokenizer=tokenizer,
            training=encoded(dataset.train),
            validation=encoded(dataset.validation),
            callbacks=[Clock()],
            num_train_epochs=arguments.epochs,
            learning_rate=arguments.lr,
            seed=arguments.seed,
            warmup_steps=0.06,  # below one: of all steps
            eval_strategy="steps",
            eval_steps=max(1, round(len(dataset.train) / BATCH_ROWS / LOOKS)),
            save_strategy="no",
        )
        began = time.process_time()
        trainer.train()
    return {"looks": looks, "epochs": arguments.epochs, "lr": arguments.lr}


def until(looks: list[Look], accuracy: float) -> float:
    """CPU-seconds of the first look that is as good; infinite: none was."""
    return next((seconds for seconds, found in looks if found >= accuracy), math.inf)


def against(mine: dict[str, Any], line: dict[str, Any]) -> tuple[float, float, float, float, float]:
    """The Trainer's best, when it had it, when we had as much, how many times sooner (0: never), our best."""
    best, own = (max(accuracy for _, accuracy in one["looks"]) for one in (line, mine))
    after, soon = until(line["looks"], best), until(mine["looks"], best)
    return best, after, soon, after / soon, own


def table(lines: list[dict[str, Any]]) -> None:
    """For each method the medians over seeds: the Trainer's best and when it had it, when we had as much, how much sooner."""
    mine = {tuple(line[key] for key in KEY): line for line in lines if line["who"] == WHO[0]}
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in lines:
        if line["who"] != WHO[0] and tuple(line[key] for key in KEY) in mine:
            groups.setdefault(tuple(line[key] for key in (*KEY[:-1], "who")), []).append(line)
    head = "model | data | method | seeds | Trainer's rate | its best | after CPU s | Finewright as good after | sooner"
    print(f"| {head} | Finewright's best |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (model, data, method, _), some in groups.items():
        pairs = [against(mine[tuple(line[key] for key in KEY)], line) for line in some]
        best, after, soon, sooner, own = (statistics.median(column) for column in zip(*pairs, strict=True))
        found = "never | " if math.isinf(soon) else f"{soon:.1f} s | {sooner:.1f} ×"
        rate = statistics.median(line["lr"] for line in some)
        print(f"| {model} | {data} | {method} | {len(some)} | {rate:g} | {best:.3f} | {after:.1f} | {found} | {own:.3f} |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--data", action="append")
    parser.add_argument("--methods", default="lora,full,freeze,prompt")
    parser.add_argument("--out")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", type=Path)
    for name in ("--name", "--method", "--who"):  # of a child
        parser.add_argument(name)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.table:
        table(read_lines(arguments.table))
        return
    out = Path(arguments.out)
    if arguments.who:
        found = (ours if arguments.who == WHO[0] else theirs)(arguments)
        with out.open("a") as file:
            said = {"model": model_name(arguments.model), "data": arguments.name, "method": arguments.method}
            file.write(json.dumps(said | {"seed": arguments.seed, "who": arguments.who, **found}) + "\n")
        return
    for seed in range(arguments.seeds):
        for data in arguments.data:
            for method in arguments.methods.split(","):
                for who in WHO:
                    _in_child(arguments, data=data, method=method, seed=seed, who=who, out=out)


def model_name(model: str) -> str:
    """The last part of a folder's or a hub's name."""
    return Path(model).name


def _in_child(arguments: argparse.Namespace, *, data: str, method: str, seed: int, who: str, out: Path) -> None:
    path = Path(data)
    name = path.parent.parent.name if path.parent.name == "splits" else path.name
    key = (model_name(arguments.model), name, method, seed)
    known = {line["who"]: line for line in read_lines(out) if tuple(line.get(part) for part in KEY) == key}
    if who in known:
        return
    command = [sys.executable, __file__, "--model", arguments.model, "--data", data, "--out", arguments.out]
    command += ["--name", name, "--method", method, "--who", who, "--seed", str(seed)]
    if who != WHO[0]:
        lr = LEARNING_RATES[method] if who == WHO[1] else known[WHO[0]]["lr"]
        command += ["--epochs", str(known[WHO[0]]["epochs"]), "--lr", str(lr)]
    with tempfile.TemporaryDirectory() as nothing_kept:  # what another run left in the cache would be time saved
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "FINEWRIGHT_CACHE": nothing_kept}
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
