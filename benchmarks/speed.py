"""Tokens per CPU-second of one thread in training: Finewright beside Hugging Face Trainer + PEFT, by turns in one run.

    python benchmarks/speed.py [--rounds 3] [--steps 6] [--way lora ...] [--out FILE.json]

GPT-2 small with random weights (speed does not depend on their values) on texts of random tokens whose lengths are spread like
those of short messages. One child process per cell and round, one thread: machines are shared, so CPU seconds of one thread can
be compared and wall time cannot. Tokens are real ones: neither padding nor a prompt's. The first update is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = {"lora": {}, "full": {}, "freeze": {"blocks": 3}, "prompt": {}}
FINEWRIGHT, TRAINER, TRAINER_BF16 = "finewright", "trainer", "trainer bf16"
ROWS, NUM_TEXTS, VOCABULARY, LABELS = 16, 1000, 50257, 6
MEDIAN_TOKENS, SPREAD, MOST_TOKENS = 24, 0.55, 128


def texts() -> list[list[int]]:
    """Token ids of every text, the same in every process."""
    import numpy as np

    random = np.random.default_rng(0)
    lengths = np.clip(np.round(MEDIAN_TOKENS * np.exp(SPREAD * random.standard_normal(NUM_TEXTS))), 3, MOST_TOKENS).astype(int)
    # ids as frequent as words are: most of the vocabulary never occurs in so few texts
    return [(random.zipf(1.3, length) % VOCABULARY).tolist() for length in lengths]


def network():
    import torch
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    return GPT2ForSequenceClassification(GPT2Config(num_labels=LABELS, pad_token_id=0, use_cache=False))


def finewright(way: str, num_steps: int) -> dict:
    """The engine's own steps, prepared as `train` prepares them; with kept states, running the frozen blocks is told apart."""
    import torch

    from finewright import anatomy, attention, batches, engine, hardware, methods, models, optim, savings, step
    from finewright.config import TrainKnobs
    from finewright.tasks import Classification
    from finewright.tuned import Origin

    attention.register()
    net, ids = network(), texts()
    net.set_attn_implementation(attention.NAME)
    shape = anatomy.of(net.config)
    encoded = batches.Encoded(ids, [len(one) for one in ids], [row % LABELS for row in range(NUM_TEXTS)])
    tuned = methods.make(way, WAYS[way]).prepare(net, anatomy=shape, head=shape.head, origin=Origin("gpt2", "", None))
    if hardware.choose_precision("auto", hardware=hardware.detect())[0] == "bfloat16":
        models.use_bfloat16(tuned)
    budget, _ = batches.choose_budget([length + tuned.prompt_tokens for length in encoded.lengths])
    lengths = [length + tuned.prompt_tokens for length in encoded.lengths]
    steps = batches.steps(lengths, budget=budget, accumulation=1, seed=0, epochs=3)
    plain = {"warmup_fraction": 0.0, "schedule": "constant", "weight_decay": 0.01, "clip_norm": 1.0, "early_stopping": 0}
    recipe = engine.Recipe(steps, lr=1e-4, evaluate_every=len(steps), **plain)
    known = savings.Texts(encoded.lengths, [], encoded.tokens())
    saved = savings.choose(tuned, train=TrainKnobs(), texts=known, recipe=recipe, memory_bytes=hardware.free_bytes("cpu"))
    saved.apply(tuned, device="cpu")
    splits, filling = {"train": encoded}, time.process_time()
    saved.fill(tuned, splits, ("train",))
    filling = time.process_time() - filling
    optimizer = optim.build(tuned, lr=recipe.lr, weight_decay=recipe.weight_decay)
    task, done, marks = Classification(tuple(map(str, range(LABELS)))), [], []
    torch.manual_seed(0)
    for one in steps[: num_steps + 1]:
        tuned.train()
        parts = [batches.collate(splits["train"], rows) for rows in one.batches]
        step.train_step(tuned, parts, task=task, optimizer=optimizer, lr=recipe.lr, clip_norm=recipe.clip_norm)
        marks.append(time.process_time())
        done.append(sum(encoded.lengths[row] for rows in one.batches for row in rows))
    told = {
        "tokens": sum(done[1:]),
        "cpu_seconds": marks[-1] - marks[0],
        "precision": "bfloat16" if tuned.bfloat16 else "float32",
    }
    return told | ({"filling_cpu_seconds": filling, "filled_tokens": sum(encoded.lengths)} if saved.where else {})


def trainer(way: str, num_steps: int, *, bf16: bool) -> dict:
    """Trainer with its usual settings, PEFT for the ways that it has."""
    import torch
    from peft import LoraConfig, PromptTuningConfig, get_peft_model
    from transformers import Trainer, TrainerCallback, TrainingArguments

    net, ids = network(), texts()
    if way == "lora":
        net = get_peft_model(net, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=32, lora_dropout=0.1))
    if way == "prompt":
        net = get_peft_model(net, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=20))
    if way == "freeze":
        for frozen in [net.transformer.wte, net.transformer.wpe, *net.transformer.h[: -WAYS[way]["blocks"]]]:
            frozen.requires_grad_(False)
    done, marks = [], []

    def collate(rows: list[dict]) -> dict:
        lengths = [len(row["input_ids"]) for row in rows]
        done.append(sum(lengths))
        padded = torch.zeros(len(rows), max(lengths), dtype=torch.long)
        mask = torch.zeros_like(padded)
        for place, row in enumerate(rows):
            padded[place, : lengths[place]] = torch.tensor(row["input_ids"])
            mask[place, : lengths[place]] = 1
        return {"input_ids": padded, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as place:
        settings = TrainingArguments(
            place,
            max_steps=num_steps + 1,
            per_device_train_batch_size=ROWS,
            learning_rate=1e-4,
            bf16=bf16,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=100_000,
            remove_unused_columns=False,
        )
        rows = [{"input_ids": one, "labels": number % LABELS} for number, one in enumerate(ids)]
        Trainer(net, settings, train_dataset=rows, data_collator=collate, callbacks=[Clock()]).train()
    counted = done[1 : num_steps + 1]  # a batch or two more may have been fetched ahead
    return {"tokens": sum(counted), "cpu_seconds": marks[-1] - marks[0], "precision": "bfloat16" if bf16 else "float32"}


def cell(who: str, way: str, num_steps: int) -> dict:
    """One measurement, in this process."""
    import resource

    import torch

    torch.set_num_threads(1)
    told = finewright(way, num_steps) if who == FINEWRIGHT else trainer(way, num_steps, bf16=who == TRAINER_BF16)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"who": who, "way": way, **told, "rate": told["tokens"] / told["cpu_seconds"], "peak_resident_bytes": peak}


def show(cells: list[dict]) -> None:
    """Medians and spread, with how many times the Trainer's rate ours is."""
    rates = {}
    for one in cells:
        rates.setdefault((one["way"], one["who"]), []).append(one["rate"])
    print("| way | who | tokens per CPU-second: median (least–most) | Finewright is |")
    print("|---|---|---|---|")
    for (way, who), found in rates.items():
        ours = statistics.median(rates[way, FINEWRIGHT]) if (way, FINEWRIGHT) in rates else None
        times = "" if who == FINEWRIGHT or ours is None else f"{ours / statistics.median(found):.1f} ×"
        print(f"| {way} | {who} | {statistics.median(found):.0f} ({min(found):.0f}–{max(found):.0f}) | {times} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--way", action="append", choices=list(WAYS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(*arguments.cell, arguments.steps)))
        return
    from finewright import hardware

    cells: list[dict] = []
    with tempfile.TemporaryDirectory() as store:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        for number in range(arguments.rounds):
            for way in arguments.way or WAYS:
                for who in (FINEWRIGHT, TRAINER, TRAINER_BF16):
                    command = [sys.executable, __file__, "--steps", str(arguments.steps), "--cell", who, way]
                    own = {**environment, "FINEWRIGHT_CACHE": f"{store}/{number}"}  # nothing kept from an earlier round
                    told = subprocess.run(command, env=own, check=True, stdout=subprocess.PIPE, text=True).stdout
                    cells.append(json.loads(told.splitlines()[-1]))
                    print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
    lengths = sorted(map(len, texts()))
    print(f"{NUM_TEXTS} texts, mean {statistics.mean(lengths):.1f} tokens, 95 % below {lengths[int(0.95 * NUM_TEXTS)]}")
    environment = hardware.environment()
    print(json.dumps(environment))
    show(cells)
    if arguments.out:
        arguments.out.write_text(json.dumps({"environment": environment, "cells": cells}, indent=1))


if __name__ == "__main__":
    main()
