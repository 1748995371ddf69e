"""Fine-tuning a language model beside TRL's SFTTrainer: tokens per CPU-second, memory, and the same losses.

    python benchmarks/language.py --model DIR_OR_NAME --data ROWS.json --trl FOLDER_WITH_TRL [--rounds N] [--out FILE.jsonl]

Every cell is a process with one thread; contestants take turns. Both read the same token ids with the same targets in the same
batches of 8 rows, without dropout. `--check-losses` compares the losses of full fine-tuning in float32, step by step.
`--trl`: a folder with the package trl (`pip install --no-deps --target FOLDER trl`), as it is no part of the environment.
"""

import argparse
import json
import math
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH_ROWS, NUM_ROWS, WARM_STEPS, MAX_LENGTH = 8, 64, 2, 512
PASS_TOKENS = 1024
"""Of a pass, as a run chooses on a CPU (`TextGeneration.most_pass_tokens`)."""
LEARNING_RATES = {"lora": 2e-4, "full": 2e-5}
CONTESTANTS = ("finewright-bfloat16", "finewright-float32", "trl-bfloat16", "trl-float32")


def encode(name: str, data: Path) -> tuple[str, list[list[int]], list[list[bool]]]:
    """Return the model's folder, the tokens of the first rows, and which of them are trained."""
    from transformers import AutoTokenizer

    from finewright.core.config import DataConfig
    from finewright.data import chat_encoding
    from finewright.data.dataset import read_dataset
    from finewright.models import hub

    folder = str(hub.resolve_model(name).path)
    rows = read_dataset(data, options=DataConfig(), row_kind="conversation").train[:NUM_ROWS]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = chat_encoding.encode_conversations(tokenizer, rows, limit=MAX_LENGTH, options=DataConfig())
    return folder, [row.tolist() for row in encoded.ids], [row.tolist() for row in encoded.trained]


class Meter:
    """CPU-seconds and wall seconds of the steps after the first ones."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.marks.append((used.ru_utime + used.ru_stime, time.monotonic()))

    def seconds(self) -> tuple[float, float]:
        first, last = self.marks[WARM_STEPS], self.marks[-1]
        return last[0] - first[0], last[1] - first[1]


def run_finewright(folder: str, ids: Any, trained: Any, *, method: str, bfloat16: bool, meter: Meter) -> list[float]:
    from finewright import methods
    from finewright.data import packing
    from finewright.models import acceleration, hub, loading, prepared
    from finewright.tasks.text_generation import TextGeneration
    from finewright.training import optimizer, step

    task = TextGeneration()
    base = loading.load_model(hub.resolve_model(folder), head_spec=task.head_spec, bfloat16=bfloat16)
    model = methods.build_method(method, {"dropout": 0.0} if method == "lora" else {}).prepare(base)
    if bfloat16:
        prepared.use_bfloat16(model)
    acceleration.accelerate(model)
    adam = optimizer.build_optimizer(model, lr=LEARNING_RATES[method], weight_decay=0.0)
    split = packing.EncodedSplit(ids, [], [*range(len(ids))], trained=trained)
    model.train()
    losses = []
    meter.mark()
    for start in range(0, len(ids), BATCH_ROWS):
        rows = tuple(range(start, min(start + BATCH_ROWS, len(ids))))
        size = sum(len(ids[row]) for row in rows)
        parts = packing.split_micro_batches([rows], split.lengths, times=max(0, round(math.log2(size / PASS_TOKENS))))
        batches = [packing.collate(split, part) for part in parts]
        done = step.train_step(model, batches, task=task, optimizer=adam, lr=LEARNING_RATES[method], max_grad_norm=1.0)
        losses.append(done.loss)
        meter.mark()
    return losses


def run_trl(folder: str, ids: Any, trained: Any, *, method: str, bfloat16: bool, meter: Meter) -> list[float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Marks(TrainerCallback):
        losses: list[float] = []

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            meter.mark()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.mark()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(logs["loss"])

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    rows = Dataset.from_dict({"input_ids": ids, "completion_mask": [[int(one) for one in row] for row in trained]})
    lora = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=32, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])
    with tempfile.TemporaryDirectory() as place:
        config = SFTConfig(
            place,
            per_device_train_batch_size=BATCH_ROWS,
            num_train_epochs=1,
            learning_rate=LEARNING_RATES[method],
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            bf16=bfloat16,
            use_cpu=True,
            gradient_checkpointing=False,
            completion_only_loss=True,
            max_length=None,
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            dataloader_pin_memory=False,
        )
        trainer = InOrder(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            config,
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=lora if method == "lora" else None,
            callbacks=[marks := Marks()],
        )
        trainer.train()
    return marks.losses


def measure_cell(contestant: str, method: str, name: str, data: Path) -> dict[str, Any]:
    """Return what one contestant needs, in this process."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder, ids, trained = encode(name, data)
    program, precision = contestant.split("-")
    meter = Meter()
    run = run_finewright if program == "finewright" else run_trl
    losses = run(folder, ids, trained, method=method, bfloat16=precision == "bfloat16", meter=meter)
    cpu, wall = meter.seconds()
    tokens = sum(map(len, ids[WARM_STEPS * BATCH_ROWS :]))
    found = {"contestant": contestant, "method": method, "data": data.stem, "tokens": tokens, "cpu_seconds": cpu}
    found |= {"wall_seconds": wall, "tokens_per_cpu_second": tokens / cpu, "losses": losses}
    return found | {"peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--methods", default="lora,full")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--trl", default="")
    parser.add_argument("--out", type=Path, default=Path("language.jsonl"))
    parser.add_argument("--check-losses", action="store_true")
    parser.add_argument("--cell", nargs=3, metavar=("CONTESTANT", "METHOD", "DATA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trl:
        sys.path.insert(0, args.trl)
    if args.cell:
        contestant, method, data = args.cell
        print(json.dumps(measure_cell(contestant, method, args.model, Path(data))))
        return
    from children import cell

    contestants, methods = args.contestants.split(","), args.methods.split(",")
    if args.check_losses:
        contestants, methods = ["finewright-float32", "trl-float32"], ["full"]
    found = []
    with tempfile.TemporaryDirectory() as store, args.out.open("a", encoding="utf-8") as out:
        for _ in range(args.rounds):
            for data in args.data:
                for method in methods:
                    for contestant in contestants:
                        words = ["--model", args.model, "--data", str(data), "--trl", args.trl]
                        words += ["--cell", contestant, method, str(data)]
                        one = cell(__file__, words, store=store)
                        found.append(one)
                        out.write(json.dumps(one) + "\n")
                        out.flush()
    print_table(found)


def print_table(found: list[dict[str, Any]]) -> None:
    """Print the median of each contestant and the ratios to TRL."""
    kinds = dict.fromkeys((one["data"], one["method"]) for one in found)
    for data, method in kinds:
        rows = [one for one in found if (one["data"], one["method"]) == (data, method)]
        names = dict.fromkeys(one["contestant"] for one in rows)
        speed = {
            name: statistics.median(one["tokens_per_cpu_second"] for one in rows if one["contestant"] == name) for name in names
        }
        memory = {
            name: statistics.median(one["peak_resident_bytes"] for one in rows if one["contestant"] == name) for name in names
        }
        losses = {one["contestant"]: one["losses"] for one in rows}
        print(f"\n{data}, {method}: tokens per CPU-second, peak resident memory")
        for name in names:
            print(f"  {name:<22} {speed[name]:8.0f}   {memory[name] / 1e9:.2f} GB")
        for ours, theirs in (
            ("finewright-bfloat16", "trl-bfloat16"),
            ("finewright-bfloat16", "trl-float32"),
            ("finewright-float32", "trl-float32"),
        ):
            if {ours, theirs} <= names.keys():
                faster, share = speed[ours] / speed[theirs], memory[ours] / memory[theirs]
                print(f"  {ours} / {theirs}: {faster:.2f} x the speed, {share:.2f} of the memory")
        if {"finewright-float32", "trl-float32"} <= names.keys():
            pairs = zip(losses["finewright-float32"], losses["trl-float32"], strict=True)
            print(f"  largest difference of a float32 loss: {max(abs(one - other) for one, other in pairs):.1e}")


if __name__ == "__main__":
    main()
