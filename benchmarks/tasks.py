"""Pairs of texts, several labels, numbers and marked words: Finewright beside the Hugging Face Trainer on the same rows.

    python benchmarks/tasks.py --model DIR --out FILE.jsonl [--data NAME_OR_DIR …] [--methods auto,full,lora] [--trainers …]
                              [--seeds 3]
    python benchmarks/tasks.py --table FILE.jsonl

Finewright runs with its defaults, and finds the task by itself. The Trainer trains all weights in bfloat16 with the head and the
loss that transformers has for the task: as usual (5e-5, three epochs, the last weights), and for ten epochs at 5e-5 and at 2e-4,
of which the epoch with the best validation metric is kept (`--trainers` chooses some of the three). `trainer-best` in the table
is the best of those that were run by that metric; its seconds are those of all. Numbers are learnt as they are, several labels
are predicted from 50% on: the Trainer has no other way. Metrics are computed by the same code for both. Each run is a process of
its own with one thread; its CPU-seconds are those of the whole process. Runs already in FILE are skipped. A folder needs train,
validation and test files.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from children import cell, cpu_seconds
from finewright_runs import append_line, read_lines

PACKAGED = ("matches", "topics", "reviews", "entities")
BATCH_ROWS, MAX_LENGTH = 16, 128
TRAINER = {"trainer": (5e-5, 3), "trainer-long": (5e-5, 10), "trainer-long-fast": (2e-4, 10)}
"""Learning rate and epochs; the first one is what people use."""
BEST = "trainer-best"
KEY = ("data", "model", "method", "seed")
Told = dict[str, Any]


def read_data(source: str) -> tuple[Any, Any]:
    """The data as Finewright reads it, and its task: both sides get these rows."""
    from finewright import tasks
    from finewright.core.config import DataConfig, RunConfig
    from finewright.data import dataset

    kind, _ = dataset.detect_row_kind(source, options=DataConfig())
    found = dataset.read_dataset(source, options=DataConfig(), row_kind=kind)
    name = next(name for name in tasks.task_names() if tasks.get_task(name).row_kind == kind)
    return found, tasks.get_task(name).for_dataset(found, config=RunConfig())


def run_finewright(told: Told) -> Told:
    """Train with all defaults but the method."""
    import finewright

    options = {"seed": told["seed"], "training.num_threads": 1}
    with tempfile.TemporaryDirectory() as place:
        run = finewright.train(
            told["source"], model=told["model"], method=told["method"], output_dir=Path(place) / "run", options=options
        )
        result = run.result
    measured = {split: getattr(result.metrics, split).model_dump() for split in ("validation", "test")}
    found: Told = {"chosen": result.method, "seconds": result.train_seconds, "tokens_per_second": result.tokens_per_second}
    found |= {"planned_seconds": result.planned_seconds_for_steps, "peak_bytes": result.peak_memory_bytes}
    return {**found, "planned_peak_bytes": result.planned_peak_memory_bytes, **keep_numbers(measured)}


def run_trainer(told: Told) -> Told:
    """Train all weights with the Trainer, by the examples of transformers."""
    import torch
    import transformers
    from trainer_baseline import give_padding

    torch.set_num_threads(1)
    transformers.set_seed(told["seed"])
    rate, epochs = TRAINER[told["method"]]
    data, task = read_data(told["source"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(told["model"])
    config = transformers.AutoConfig.from_pretrained(told["model"], num_labels=max(1, len(task.labels)))
    config.problem_type = task.problem_type
    network = getattr(transformers, task.auto_model).from_pretrained(told["model"], config=config)
    give_padding(tokenizer, network)
    rows = {split: encode(task, tokenizer, getattr(data, split)) for split in ("train", "validation", "test")}
    judge = task.move_scale_into_head(None)  # the Trainer's outputs of a regression are the numbers themselves

    def measure(scores: Any, split: str) -> Told:
        targets = rows[split]["targets"]
        evaluation = judge.start_evaluation(targets)
        for row, one in enumerate(np.asarray(scores, dtype=np.float32)):
            marks = rows[split]["marks"]
            evaluation.update([row], one[None] if marks is None else one[: len(marks[row])][marks[row]][None])
        return evaluation.metrics()

    def measure_validation(found: Any) -> dict[str, float]:
        return {"measure": measure(found.predictions, "validation")[task.metric.name]}

    settings: Told = {"learning_rate": rate, "num_train_epochs": epochs, "seed": told["seed"], "bf16": True, "use_cpu": True}
    settings |= {"per_device_train_batch_size": BATCH_ROWS, "per_device_eval_batch_size": 64}
    settings |= {"report_to": "none", "disable_tqdm": True, "logging_steps": 10**6, "save_strategy": "no"}
    if told["method"] != "trainer":
        settings |= {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 1, "load_best_model_at_end": True}
        settings |= {"metric_for_best_model": "measure", "greater_is_better": task.metric.higher_is_better}
    kind = "DataCollatorForTokenClassification" if rows["train"]["marks"] else "DataCollatorWithPadding"
    with tempfile.TemporaryDirectory() as place:
        trainer = transformers.Trainer(
            network,
            transformers.TrainingArguments(place, **settings),
            train_dataset=rows["train"]["rows"],
            eval_dataset=rows["validation"]["rows"],
            data_collator=getattr(transformers, kind)(tokenizer),
            compute_metrics=measure_validation,
        )
        trainer.train()
        seconds = trainer.state.log_history[-1]["train_runtime"]
        trainer.compute_metrics = None  # predictions are wanted, of the test rows too
        scores = {split: trainer.predict(rows[split]["rows"]).predictions for split in ("validation", "test")}
    tokens = epochs * sum(len(row["input_ids"]) for row in rows["train"]["rows"])
    found = {"chosen": told["method"], "seconds": seconds, "tokens_per_second": tokens / seconds}
    return found | keep_numbers({split: measure(of_split, split) for split, of_split in scores.items()})


def encode(task: Any, tokenizer: Any, examples: list[Any]) -> Told:
    """Rows for the Trainer, the targets for our metrics, and for words which tokens have a target."""
    if task.reads != "pooled":
        one = task.encode_evaluated(tokenizer, examples, limit=MAX_LENGTH, keep_end=False).split
        pieces = zip(one.ids, one.tags, strict=True)
        rows = [{"input_ids": list(map(int, ids)), "labels": list(map(int, tags))} for ids, tags in pieces]
        return {"rows": rows, "targets": one.targets, "marks": [np.asarray(marks) for marks in one.trained]}
    targets = task.targets(examples)
    first = [example.pair[0] if example.pair else example.text for example in examples]
    second = [example.pair[1] for example in examples] if examples[0].pair else None
    ids = tokenizer(first, second, truncation=True, max_length=MAX_LENGTH)
    labels = targets
    if task.problem_type == "multi_label_classification":
        labels = [[float(number) for number in target] for target in targets]
    elif task.problem_type == "regression":
        labels = [float(target) * task.scale for target in targets]
    rows = [{key: ids[key][place] for key in ids} | {"labels": label} for place, label in enumerate(labels)]
    return {"rows": rows, "targets": targets, "marks": None}


def keep_numbers(measured: dict[str, Told]) -> Told:
    """The plain numbers of each split."""
    return {
        split: {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        for split, metrics in measured.items()
    }


def run_all(arguments: argparse.Namespace) -> None:
    """Run what is not yet in the file, all contestants of the same rows in turn."""
    from finewright.models.hub import resolve_model

    done = {tuple(line[name] for name in KEY) for line in read_lines(arguments.out)}
    methods = [*arguments.methods.split(","), *arguments.trainers.split(",")]
    for seed, source, model, method in itertools.product(range(arguments.seeds), arguments.data, arguments.model, methods):
        key = {"data": Path(source).name, "model": Path(model).name, "method": method, "seed": seed}
        if tuple(key.values()) in done:
            continue
        told = {"source": source, "model": str(resolve_model(model).path), "method": method, "seed": seed}
        before = cpu_seconds()
        with tempfile.TemporaryDirectory() as nothing_kept:
            found = cell(__file__, ["--cell", json.dumps(told)], store=nothing_kept)
        append_line(arguments.out, {**key, "cpu_seconds": round(cpu_seconds() - before, 1), **found})


SHOWN = {
    "text-classification": ("accuracy", "macro_f1"),
    "multi-label-classification": ("micro_f1", "macro_f1"),
    "regression": ("rmse", "r2"),
    "token-classification": ("entity_f1", "token_accuracy"),
}


def print_table(lines: list[Told]) -> None:
    """One line for each data set, model and contestant: means over the seeds, each seed's first metric in brackets."""
    print("| data | model | contestant | metric | mean (each seed) | second metric | CPU-s | tokens/s | planned s, memory |")
    print("|---" * 9 + "|")
    for data, model in dict.fromkeys((line["data"], line["model"]) for line in lines):
        own = [line for line in lines if (line["data"], line["model"]) == (data, model)]
        shown = next(names for names in SHOWN.values() if names[0] in own[0]["test"])
        for method in [*dict.fromkeys(line["method"] for line in own), BEST]:
            runs = pick_best(own, metric=shown[0]) if method == BEST else [line for line in own if line["method"] == method]
            if not runs:
                continue
            first, second = ([run["test"][name] for run in runs] for name in shown)
            each = ", ".join(f"{value:.3f}" for value in first)
            planned = [run for run in runs if run.get("planned_seconds")]
            ratio = f"{_mean(run['planned_seconds'] / run['seconds'] for run in planned):.2f}" if planned else ""
            if planned and all(run["peak_bytes"] for run in planned):
                ratio += f", {_mean(run['planned_peak_bytes'] / run['peak_bytes'] for run in planned):.2f}"
            speed = "" if method == BEST else f"{_mean(run['tokens_per_second'] for run in runs):.0f}"
            costs = f"{_mean(run['cpu_seconds'] for run in runs):.0f} | {speed} | {ratio} |"
            print(f"| {data} | {model} | {method} | {shown[0]} | {_mean(first):.3f} ({each}) | {_mean(second):.3f} | {costs}")


def pick_best(own: list[Told], *, metric: str) -> list[Told]:
    """Of each seed the Trainer's run that is best on the validation rows, at the cost of all of them."""
    sign = -1 if metric == "rmse" else 1
    best = []
    for seed in dict.fromkeys(line["seed"] for line in own):
        runs = [line for line in own if line["seed"] == seed and line["method"] in TRAINER]
        if len(runs) > 1:
            chosen = max(runs, key=lambda run: sign * run["validation"][metric])
            best.append({**chosen, "cpu_seconds": sum(run["cpu_seconds"] for run in runs)})
    return best


def _mean(values: Any) -> float:
    return statistics.mean(values)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--data", action="append", default=[])
    parser.add_argument("--methods", default="auto,full,lora")
    parser.add_argument("--trainers", default=",".join(TRAINER))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--cell", type=json.loads)
    arguments = parser.parse_args()
    if arguments.cell:
        run = run_trainer if arguments.cell["method"] in TRAINER else run_finewright
        print(json.dumps(run(arguments.cell)))
    elif arguments.table:
        print_table(read_lines(arguments.table))
    elif arguments.out and arguments.model:
        arguments.data = arguments.data or list(PACKAGED)
        run_all(arguments)
    else:
        parser.error("wanted --model and --out, or --table")


if __name__ == "__main__":
    main()
