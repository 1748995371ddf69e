"""Several labels per text against the Hugging Face Trainer on the same rows: the packaged data set `topics`.

    python benchmarks/task_multi_label.py --model DIR [--seeds 3] [--out FILE.jsonl]

The Trainer runs as its examples do: `problem_type="multi_label_classification"`, three epochs of 16 rows, the threshold 0.5; at
its usual learning rate, and at the best of three by micro F1 on the validation rows. One thread each, CPU seconds of the process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

USUAL, RATES = 5e-5, (5e-5, 2e-4, 5e-4)
NUM_EPOCHS, BATCH_ROWS, MAX_LENGTH = 3, 16, 128


def measure_trainer(model: str, *, rate: float, seed: int) -> dict[str, Any]:
    """Train with the Trainer, and return micro F1 on the validation and the test rows."""
    import numpy as np
    from sklearn.metrics import f1_score
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from finewright.core.config import DataConfig
    from finewright.data import dataset
    from finewright.data.multi_label_rows import labels_of

    data = dataset.read_dataset("topics", options=DataConfig(), row_kind="multi-label")
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=len(data.labels), problem_type="multi_label_classification"
    )

    def encode(rows: Any) -> list[dict[str, Any]]:
        ids = tokenizer([row.text for row in rows], truncation=True, max_length=MAX_LENGTH)
        targets = [[float(label in labels_of(row)) for label in data.labels] for row in rows]
        return [{key: ids[key][place] for key in ids} | {"labels": own} for place, own in enumerate(targets)]

    settings = {"learning_rate": rate, "num_train_epochs": NUM_EPOCHS, "per_device_train_batch_size": BATCH_ROWS, "seed": seed}
    settings |= {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": 10**6}
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(
            network,
            TrainingArguments(place, **settings),
            train_dataset=encode(data.train),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        scores = {}
        for split in ("validation", "test"):
            found = trainer.predict(encode(getattr(data, split)))
            scores[split] = float(f1_score(np.array(found.label_ids) > 0, found.predictions > 0, average="micro"))
    return scores


def measure_finewright(model: str, *, method: str, seed: int) -> dict[str, Any]:
    """Train with Finewright's own choices, and return micro F1 on the validation and the test rows."""
    import finewright

    with tempfile.TemporaryDirectory() as place:
        run = finewright.train(
            "topics", model=model, method=method, seed=seed, output_dir=Path(place) / "run", training={"num_threads": 1}
        )
        measured = {split: getattr(run.result.metrics, split).model_dump() for split in ("validation", "test")}
        return {split: values["micro_f1"] for split, values in measured.items()} | {
            "tokens_per_second": run.result.tokens_per_second,
            "steps": run.result.steps,
        }


def run_child(given: argparse.Namespace, kind: str, **how: Any) -> dict[str, Any]:
    """Measure in a process of its own, with one thread."""
    words = [sys.executable, __file__, "--model", given.model, "--child", json.dumps({"kind": kind, **how})]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True)
    line = {"kind": kind, **how, **json.loads(done.stdout.splitlines()[-1])}
    if given.out:
        with Path(given.out).open("a") as file:
            file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
    return line


def main() -> None:
    """Measure every cell, each in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--out", default="")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    if given.child:
        how = json.loads(given.child)
        measure = {"trainer": measure_trainer, "finewright": measure_finewright}[how.pop("kind")]
        found = measure(given.model, **how)
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        print(json.dumps(found | {"cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in used), 1)}))
        return
    for seed in range(given.seeds):
        for rate in RATES:
            run_child(given, "trainer", rate=rate, seed=seed)
        for method in given.methods.split(","):
            run_child(given, "finewright", method=method, seed=seed)


if __name__ == "__main__":
    main()
