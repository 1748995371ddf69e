"""What a command costs from the shell to the prompt, beside a plain script that does the same with transformers and PEFT.

    python benchmarks/whole_process.py --data DIR --model DIR [--rows 110,1000] [--methods lora,full,freeze] [--epochs 2]
                                       [--rounds 2] --out FILE.jsonl
    python benchmarks/whole_process.py --table FILE.jsonl

Both train on the same drawn rows for as many epochs, evaluate held-out rows after each, score the test rows and save; then both
label 1 and 1,000 texts with the model that `full` saved. They alternate, one process at a time, one thread. Finewright also
plans, fits its baselines, verifies what it saved, and writes the report. Seconds of CPU are those of the process and all that it
started; the first output is the first byte on standard output or error.
"""

import argparse
import csv
import json
import os
import random
import resource
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from drawn_rows import VALIDATION_ROWS, draw_number, read_splits, write_splits
from finewright_runs import append_line, read_lines
from trainer_baseline import LEARNING_RATES, encode, give_padding, make_trainer, prepare, read_rows

TEXTS = (1, 1000)
HELD_OUT = 0.1
WHO = ("finewright", "plain script")


def measure(command: list[str], *, cache: str) -> dict[str, float]:
    """Run a command to its end; return its seconds of CPU and wall clock, and those until it first said something."""
    own = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "FINEWRIGHT_CACHE": cache}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    child = subprocess.Popen(command, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first, said = 0.0, b""
    with selectors.DefaultSelector() as selector:
        for stream in (child.stdout, child.stderr):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                found = os.read(key.fd, 1 << 16)
                first = first or time.monotonic() - began
                said += found
                if not found:
                    selector.unregister(key.fileobj)
    if child.wait():
        raise SystemExit(f"{' '.join(command)}\n{said.decode(errors='replace')[-2000:]}")
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": wall, "first_output": first}


def run_plain(arguments: argparse.Namespace) -> None:
    """The plain script: train with the Trainer and PEFT, or label texts with the pipeline."""
    import torch
    from transformers import AutoTokenizer, pipeline, set_seed

    torch.set_num_threads(1)
    if arguments.plain == "predict":
        with open(arguments.data, encoding="utf-8") as source:
            texts = [row["text"] for row in csv.DictReader(source)]
        label = pipeline("text-classification", model=arguments.model, device="cpu")
        print(json.dumps([found["label"] for found in label(texts, batch_size=16)]))
        return
    from finewright.data.splits import stratified_split

    set_seed(0)
    rows, test = (read_rows(Path(arguments.data) / f"{name}.jsonl") for name in ("train", "test"))
    labels = sorted({row["label"] for row in rows})
    parts = stratified_split([row["label"] for row in rows], HELD_OUT, seed=0)
    tokenizer, network = AutoTokenizer.from_pretrained(arguments.model), prepare(arguments.plain, arguments.model, len(labels))
    give_padding(tokenizer, network)
    training, held, tested = (
        encode(tokenizer, [row["text"] for row in part], [row["label"] for row in part], labels=labels)
        for part in (*([rows[index] for index in part] for part in parts), test)
    )
    settings = {"num_train_epochs": arguments.epochs, "learning_rate": LEARNING_RATES[arguments.plain]}
    settings |= {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 1}
    settings |= {"load_best_model_at_end": True, "metric_for_best_model": "accuracy"}
    trainer = make_trainer(network, f"{arguments.out}/work", tokenizer=tokenizer, training=training, validation=held, **settings)
    trainer.train()
    print(trainer.predict(tested).metrics)
    trainer.save_model(f"{arguments.out}/model")
    tokenizer.save_pretrained(f"{arguments.out}/model")


def write_texts(rows: list[dict[str, str]], number: int, path: Path) -> Path:
    """A CSV of `number` texts."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["text"], *([rows[index % len(rows)]["text"]] for index in range(number))])
    return path


def measure_rows(arguments: argparse.Namespace, number: int, place: Path, *, cache: str) -> list[dict[str, Any]]:
    """One round with so many rows: each method's training, and both predictions after `full`."""
    rows, validation, test = read_splits(Path(arguments.data))
    train, _ = draw_number([*rows, *validation], number, seed=0)
    chosen = random.Random(0).sample(test, min(len(test), VALIDATION_ROWS))
    write_splits({"train": train, "test": chosen}, place)
    plain = [sys.executable, __file__, "--model", arguments.model, "--epochs", str(arguments.epochs)]
    own = [sys.executable, "-m", "finewright"]
    lines = []
    for method in arguments.methods.split(","):
        ours, theirs = place / f"ours-{method}", place / f"theirs-{method}"
        settings = ["--epochs", str(arguments.epochs), "--set", "training.early_stopping_patience=0"]
        commands = [
            [*own, "train", str(place), "--model", arguments.model, "--method", method, "--out", str(ours), *settings],
            [*plain, "--plain", method, "--data", str(place), "--out", str(theirs)],
        ]
        for who, command in zip(WHO, commands, strict=True):
            lines.append({"what": f"train, {method}, {number:,} rows", "who": who, **measure(command, cache=cache)})
        if method == "full":
            for count in TEXTS:
                path, out = write_texts(test, count, place / f"texts-{count}.csv"), place / f"labelled-{who}-{count}.csv"
                commands = [
                    [*own, "predict", str(ours), "--file", str(path), "--output", str(out)],
                    [*plain, "--plain", "predict", "--data", str(path), "--model", str(theirs / "model")],
                ]
                for who, command in zip(WHO, commands, strict=True):
                    lines.append({"what": f"predict, {count:,} texts", "who": who, **measure(command, cache=cache)})
    lines.append(
        {
            "what": f"plan, {number:,} rows",
            "who": WHO[0],
            **measure([*own, "plan", str(place), "--model", arguments.model], cache=cache),
        }
    )
    return lines


def table(lines: list[dict[str, Any]]) -> list[str]:
    """Markdown: medians, and the ratio of the CPU-seconds."""
    shown = ["| command | CPU s | plain script | ratio | wall s | plain script | first output, s |", "|---" * 7 + "|"]
    for what, model in dict.fromkeys((line["what"], line["model"]) for line in lines):
        found = {
            (who, key): statistics.median(values)
            for who in WHO
            for key in ("cpu", "wall", "first_output")
            if (values := [line[key] for line in lines if (line["what"], line["model"], line["who"]) == (what, model, who)])
        }
        ours, theirs = ((found.get((who, "cpu")), found.get((who, "wall"))) for who in WHO)
        cells = [f"{ours[0]:.1f}", f"{theirs[0]:.1f}" if theirs[0] else "", f"{ours[0] / theirs[0]:.2f}" if theirs[0] else ""]
        cells += [f"{ours[1]:.1f}", f"{theirs[1]:.1f}" if theirs[1] else "", f"{found[WHO[0], 'first_output']:.2f}"]
        shown.append(f"| {model}: {what} | {' | '.join(cells)} |")
    return shown


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--model")
    parser.add_argument("--rows", default="110,1000")
    parser.add_argument("--methods", default="lora,full,freeze")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out")
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table(read_lines(arguments.table))))
        return
    if arguments.plain:
        run_plain(arguments)
        return
    if not (arguments.data and arguments.model and arguments.out):
        parser.error("wanted --data, --model and --out, or --table")
    for number in map(int, arguments.rows.split(",")):
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as cache:
                for line in measure_rows(arguments, number, Path(place), cache=cache):
                    line["model"] = Path(arguments.model).name
                    append_line(Path(arguments.out), line)
                    print(json.dumps(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
