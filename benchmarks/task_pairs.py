"""Pairs of texts: Finewright beside the Hugging Face Trainer on the same rows of `matches`, with one thread.

    python benchmarks/task_pairs.py --model DIR --out FILE.jsonl [--seeds 3]

Both train all weights for three epochs. The Trainer gets its usual learning rate and two others; Finewright gets its defaults.
CPU seconds are those of the whole run: of Finewright they include its plan, the head's start and the verification. Runs already
in FILE are skipped; the last lines printed are the table.
"""

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # machines are shared: CPU seconds of one thread can be compared, wall time cannot

NUM_EPOCHS, BATCH_ROWS, MAX_LENGTH = 3, 16, 128
RATES = (5e-5, 2e-5, 1e-4)
"""Of the Trainer, its usual one first."""
DATA = Path(__file__).resolve().parent.parent / "src/finewright/assets/data/matches"


def read_rows(split: str) -> list[dict[str, str]]:
    """Return the rows of a split."""
    with open(DATA / f"{split}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run_trainer(model: str, *, rate: float, seed: int) -> float:
    """Return the test accuracy of the Trainer's last weights."""
    import numpy as np
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    labels = sorted({row["label"] for row in read_rows("train")})

    def encode(split: str) -> list[dict[str, Any]]:
        return [
            {
                **tokenizer(row["question"], row["passage"], truncation=True, max_length=MAX_LENGTH),
                "labels": labels.index(row["label"]),
            }
            for row in read_rows(split)
        ]

    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(labels))
    with tempfile.TemporaryDirectory() as place:
        asked = TrainingArguments(
            output_dir=place,
            num_train_epochs=NUM_EPOCHS,
            learning_rate=rate,
            per_device_train_batch_size=BATCH_ROWS,
            seed=seed,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        how = {"data_collator": DataCollatorWithPadding(tokenizer), "processing_class": tokenizer}
        trainer = Trainer(network, asked, train_dataset=encode("train"), **how)
        trainer.train()
        found = trainer.predict(encode("test"))
    return float((np.asarray(found.predictions).argmax(axis=1) == found.label_ids).mean())


def run_finewright(model: str, *, seed: int) -> float:
    """Return the test accuracy of Finewright with its defaults, at the same number of epochs."""
    import finewright

    training = {"epochs": NUM_EPOCHS, "num_threads": 1, "precision": "float32"}
    with tempfile.TemporaryDirectory() as place:
        run = finewright.train(
            "matches", model=model, method="full", seed=seed, training=training, output_dir=Path(place) / "run"
        )
        return run.result.metrics.test.accuracy


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    lines = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    names = ["finewright", *(f"trainer {rate:g}" for rate in RATES)]
    for seed in range(given.seeds):
        for name in names:
            if any((line["name"], line["seed"]) == (name, seed) for line in lines):
                continue
            began = time.process_time()
            if name == "finewright":
                accuracy = run_finewright(given.model, seed=seed)
            else:
                accuracy = run_trainer(given.model, rate=float(name.split()[1]), seed=seed)
            lines.append({"name": name, "seed": seed, "accuracy": accuracy, "cpu_seconds": time.process_time() - began})
            with open(given.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    rows = read_rows("train")
    num_tokens = NUM_EPOCHS * sum(len(tokenizer(row["question"], row["passage"])["input_ids"]) for row in rows)
    for name in names:
        own = [line for line in lines if line["name"] == name]
        accuracies, seconds = [line["accuracy"] for line in own], statistics.mean(line["cpu_seconds"] for line in own)
        shown = " ".join(f"{one:.1%}" for one in accuracies)
        speed = f"{seconds:5.0f} CPU-s  {num_tokens / seconds:5.0f} tokens/CPU-s"
        print(f"{name:16} {statistics.mean(accuracies):6.1%} ({shown})  {speed}")


if __name__ == "__main__":
    main()
