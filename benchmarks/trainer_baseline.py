"""Plain Hugging Face Trainer + PEFT with its usual settings: the control for Finewright's own figures.

    python benchmarks/trainer_baseline.py --model DIR --data DIR [--data DIR] --out FILE.jsonl

One child process per run, one thread (machines are shared: CPU seconds of one thread can be compared, wall time cannot).
Runs already in FILE are skipped. The training rows are those that Finewright trains on: the same stratified split.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHODS = ("full", "freeze", "lora", "prompt", "scratch")
LEARNING_RATES = {"full": 5e-5, "freeze": 5e-5, "scratch": 5e-5, "lora": 3e-4, "prompt": 1e-3}
NUM_EPOCHS, BATCH_ROWS, MAX_LENGTH = 3, 16, 128
TOP_BLOCKS = 3
"""That `freeze` trains, at most half of all: as many as Finewright's own."""


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def prepare(method: str, model: str, num_labels: int):
    from peft import LoraConfig, PromptTuningConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(model, num_labels=num_labels)
    if method == "scratch":
        return AutoModelForSequenceClassification.from_config(config)
    network = AutoModelForSequenceClassification.from_pretrained(model, config=config)
    if method == "freeze":
        body = network.base_model
        gpt2 = config.model_type == "gpt2"
        blocks, embeddings = (body.h, [body.wte, body.wpe]) if gpt2 else (body.encoder.layer, [body.embeddings])
        for frozen in [*embeddings, *blocks[: -min(TOP_BLOCKS, max(1, len(blocks) // 2))]]:
            frozen.requires_grad_(False)
    if method == "lora":
        target = ["c_attn"] if config.model_type == "gpt2" else ["query", "value"]
        return get_peft_model(
            network, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=32, lora_dropout=0.1, target_modules=target)
        )
    if method == "prompt":
        return get_peft_model(network, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=20))
    return network


def give_padding(tokenizer, network) -> None:
    """Decoders have no padding token; the Trainer cannot do without one."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        network.config.pad_token_id = tokenizer.pad_token_id


def encode(tokenizer, texts: list[str], chosen: list[str], *, labels: list[str]) -> list[dict]:
    ids = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)
    return [{key: ids[key][index] for key in ids} | {"labels": labels.index(label)} for index, label in enumerate(chosen)]


def make_trainer(network, place: str, *, tokenizer, training: list[dict], validation: list[dict], callbacks=(), **settings):
    """A Trainer on a CPU in bfloat16 that says nothing; accuracy is what it measures."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    settings |= {"per_device_train_batch_size": BATCH_ROWS, "per_device_eval_batch_size": 64, "bf16": True, "use_cpu": True}
    settings |= {"report_to": "none", "disable_tqdm": True, "logging_steps": 100_000}
    return Trainer(
        network,
        TrainingArguments(place, **settings),
        train_dataset=training,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=list(callbacks),
        compute_metrics=lambda outcome: {"accuracy": float((outcome.predictions.argmax(-1) == outcome.label_ids).mean())},
    )


def run(arguments: argparse.Namespace) -> dict:
    import numpy as np
    import torch
    from sklearn.metrics import f1_score
    from transformers import AutoTokenizer, set_seed

    from finewright.data.splits import stratified_split

    torch.set_num_threads(1)
    set_seed(arguments.seed)
    data, method = Path(arguments.data[0]), arguments.method
    rows, test = read_rows(data / "train.jsonl"), read_rows(data / "test.jsonl")
    labels = sorted({row["label"] for row in rows})
    kept, held = stratified_split([row["label"] for row in rows], 0.1, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)

    def encoded(part: list[dict]) -> list[dict]:
        return encode(tokenizer, [row["text"] for row in part], [row["label"] for row in part], labels=labels)

    network = prepare(method, arguments.model, len(labels))
    give_padding(tokenizer, network)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    total = sum(p.numel() for p in network.parameters())
    with tempfile.TemporaryDirectory() as place:
        trainer = make_trainer(
            network,
            place,
            tokenizer=tokenizer,
            training=encoded([rows[index] for index in kept]),
            validation=encoded([rows[index] for index in held]),
            num_train_epochs=NUM_EPOCHS,
            learning_rate=LEARNING_RATES[method],
            seed=arguments.seed,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
        )
        cpu, wall = time.process_time(), time.perf_counter()
        trainer.train()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        outcome = trainer.predict(encoded(test))
    chosen = outcome.predictions.argmax(-1)
    return {
        "data": data.name,
        "method": method,
        "seed": arguments.seed,
        "accuracy": float(np.mean(chosen == outcome.label_ids)),
        "macro_f1": float(f1_score(outcome.label_ids, chosen, average="macro", zero_division=0)),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "train_cpu_seconds": cpu,
        "train_seconds": wall,
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "steps": trainer.state.global_step,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = Path(arguments.out)
    if arguments.method:
        with out.open("a") as handle:
            handle.write(json.dumps(run(arguments)) + "\n")
        return
    done = {(row["data"], row["method"], row["seed"]) for row in (read_rows(out) if out.exists() else [])}
    for seed in range(arguments.seeds):
        for data in arguments.data:
            for method in METHODS:
                if (Path(data).name, method, seed) in done:
                    continue
                command = [sys.executable, __file__, "--model", arguments.model, "--data", data, "--out", arguments.out]
                command += ["--method", method, "--seed", str(seed)]
                subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)


if __name__ == "__main__":
    main()
