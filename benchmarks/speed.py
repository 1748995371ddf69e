"""Tokens per second in training and predicting: Finewright beside Hugging Face, by turns in one run.

    python benchmarks/speed.py [--rounds 3] [--steps 6] [--threads N] [--method lora …] [--out FILE.json]

GPT-2 small with random weights (speed does not depend on their values) on texts of random tokens whose lengths are spread like
those of short messages. One child process per cell and round. With one thread seconds are CPU-seconds, since machines are
shared and wall time cannot be compared there; with more they are wall seconds, for a quiet machine. Tokens are real ones:
neither padding nor a prompt's. The first update is not counted. A peer that is not installed is left out, which is said.

`trainer best` is bfloat16, batches of like lengths in random order, no dropout. With `freeze` what the frozen layers make
of the texts is kept: the rate is that from the second pass over the data on, and a row of its own adds the first one.
`predict` scores the embedded messages, tokenising included, beside the `text-classification` pipeline with batches of 16.

Two shares of the peak, which is the bfloat16 rate of a 512 × 768 × 3,072 product in the same process. `plain`: every weight of
every layer on every real token. `needed`: what the method cannot do without; of the last layer keys and values of every token and
the rest for one token a text, no gradient below the lowest weight that learns, and attention's own products.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import children

METHODS = {"lora": {}, "full": {}, "freeze": {"num_layers": 3}, "prompt": {}}
PREDICT = "predict"
FINEWRIGHT = "finewright"
TRAINERS = ("trainer", "trainer bf16", "trainer best")
PIPELINES = ("pipeline", "pipeline bf16", "pipeline bf16 sorted")
WIDTH, BLOCKS = 768, 12
PASSES = 3
ROWS, NUM_TEXTS, VOCABULARY, LABELS = 16, 1000, 50257, 6
NUM_MESSAGES = 96
MEDIAN_TOKENS, SPREAD, MOST_TOKENS = 24, 0.55, 128


def texts(num_texts: int = NUM_TEXTS) -> list[list[int]]:
    """Token ids of every text, the same in every process."""
    import numpy as np

    random = np.random.default_rng(0)
    lengths = np.clip(np.round(MEDIAN_TOKENS * np.exp(SPREAD * random.standard_normal(num_texts))), 3, MOST_TOKENS).astype(int)
    # ids as frequent as words are: most of the vocabulary never occurs in so few texts
    return [(random.zipf(1.3, length) % VOCABULARY).tolist() for length in lengths]


def network(*, dropout: float = 0.1):
    import torch
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    rates = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
    return GPT2ForSequenceClassification(GPT2Config(num_labels=LABELS, pad_token_id=0, use_cache=False, **rates))


def matmul_rate(
    clock: Callable[[], float], *, sizes: tuple[int, int, int] = (512, WIDTH, 4 * WIDTH), device: str = "cpu"
) -> float:
    """FLOP per second of a bfloat16 product, of this network's size where no other is given; the best of several."""
    import torch

    rows, inputs, outputs = sizes
    states = torch.randn(rows, inputs, dtype=torch.bfloat16, device=device)
    weight = torch.randn(outputs, inputs, dtype=torch.bfloat16, device=device)
    found = []
    for _ in range(20):
        began = clock()
        for _ in range(5):
            torch.nn.functional.linear(states, weight)
        found.append(5 * 2 * rows * inputs * outputs / (clock() - began))
    return max(found[2:])


@dataclass(frozen=True)
class Texts:
    """Tokens of a text on average, and tokens that a token sees in its own text on average."""

    mean: float
    seen: float

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Texts":
        return cls(sum(lengths) / len(lengths), sum(length**2 for length in lengths) / sum(lengths))


def filling_flops(method_name: str, texts: Texts) -> dict[str, float]:
    """For each token, of the forward pass of the layers that do not learn."""
    below = BLOCKS - _num_learning(method_name)
    return {"plain": 2.0 * below * 12 * WIDTH**2, "needed": 2.0 * below * (12 * WIDTH**2 + 2 * WIDTH * texts.seen)}


def learning_flops(method_name: str, texts: Texts) -> dict[str, float]:
    """For each token, of the layers above: forward, for the states' gradients, and for the weights' where they learn."""
    num, products = _num_learning(method_name), 3 if method_name in ("full", "freeze") else 2
    weights, attention = 12 * WIDTH**2, 2 * WIDTH * texts.seen
    # of the last layer keys and values are for all tokens; query, output and MLP for the one that is read
    needed = ((num - 1) * weights + (2 + 10 / texts.mean) * WIDTH**2) * products
    needed += ((num - 1) * attention + 2 * WIDTH) * 3  # both operands of attention's products have a gradient
    if method_name in ("lora", "freeze"):
        needed -= 3 * WIDTH**2  # below the lowest query, key and value nothing learns
    return {"plain": 2.0 * num * weights * products, "needed": 2.0 * needed}


def predict_flops(texts: Texts) -> dict[str, float]:
    """For each token of a forward pass that is read at one token a text."""
    weights, attention = 12 * WIDTH**2, 2 * WIDTH * texts.seen
    needed = (BLOCKS - 1) * (weights + attention) + (2 + 10 / texts.mean) * WIDTH**2 + 2 * WIDTH
    return {"plain": 2.0 * BLOCKS * weights, "needed": 2.0 * needed}


def _num_learning(method_name: str) -> int:
    return METHODS[method_name].get("num_layers", BLOCKS)


def flops(method_name: str, texts: Texts, *, filled: float) -> dict[str, float]:
    """Per token, the frozen layers `filled` times."""
    if method_name == PREDICT:
        return predict_flops(texts)
    below, above = filling_flops(method_name, texts), learning_flops(method_name, texts)
    return {kind: above[kind] + filled * below[kind] for kind in above}


def finewright(method_name: str, num_steps: int) -> dict:
    """The engine's own steps on this benchmark's texts."""
    import engine_steps

    return engine_steps.measure(
        network(), texts(), method=method_name, options=METHODS[method_name], num_labels=LABELS, num_steps=num_steps
    )


def _alike(ids: list[list[int]], *, rows: int = ROWS) -> list[list[int]]:
    """In batches of like lengths, as `group_by_length` makes them, but in random order: it begins with the longest, and few
    steps are counted."""
    import random

    ordered = sorted(ids, key=len)
    groups = [ordered[start : start + rows] for start in range(0, len(ordered), rows)]
    random.Random(0).shuffle(groups)
    return [one for group in groups for one in group]


def trainer(method_name: str, num_steps: int, *, bf16: bool, best: bool) -> dict:
    """Trainer with its usual settings or its best, PEFT for the methods that it has."""
    dropout = 0.0 if best else 0.1
    net = peer(network(dropout=dropout), method_name, dropout=dropout)
    return trainer_steps(net, texts(), num_steps, bf16=bf16, alike=best)


def peer(net: Any, method_name: str, *, dropout: float) -> Any:
    """The network as PEFT or plain freezing makes it ready for a method."""
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    if method_name == "lora":
        net = get_peft_model(net, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=32, lora_dropout=dropout))
    if method_name == "prompt":
        net = get_peft_model(net, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=20))
    if method_name == "freeze":
        for frozen in [net.transformer.wte, net.transformer.wpe, *net.transformer.h[: -METHODS[method_name]["num_layers"]]]:
            frozen.requires_grad_(False)
    return net


def trainer_steps(
    net: Any,
    ids: list[list[int]],
    num_steps: int,
    *,
    bf16: bool,
    alike: bool,
    rows: int = ROWS,
    device: str = "cpu",
    heard: Callable[[int], None] = lambda number: None,
) -> dict:
    """Trainer's updates after the first. `alike`: texts of like lengths in one batch. `rows`: texts of an update. `heard` is
    called with 0 before the first update and with its number after each one."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

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
        def on_train_begin(self, *_: object, **__: object) -> None:
            heard(0)

        def on_step_end(self, *_: object, **__: object) -> None:
            heard(len(marks) + 1)
            marks.append((time.process_time(), time.perf_counter()))

    with tempfile.TemporaryDirectory() as place:
        settings = TrainingArguments(
            place,
            max_steps=num_steps + 1,
            per_device_train_batch_size=rows,
            learning_rate=1e-4,
            bf16=bf16,
            use_cpu=device == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=100_000,
            logging_nan_inf_filter=device == "cpu",  # a GPU would be waited for at every update
            train_sampling_strategy="sequential" if alike else "random",
            remove_unused_columns=False,
        )
        ids = _alike(ids, rows=rows) if alike else ids
        examples = [{"input_ids": one, "labels": number % LABELS} for number, one in enumerate(ids)]
        Trainer(net, settings, train_dataset=examples, data_collator=collate, callbacks=[Clock()]).train()
    counted = done[1 : num_steps + 1]  # a batch or two more may have been fetched ahead
    cpu, wall = (end - start for start, end in zip(marks[0], marks[-1], strict=True))
    told = {"tokens": sum(counted), "cpu_seconds": cpu, "wall_seconds": wall, "step_tokens": counted}
    return told | {"precision": "bfloat16" if bf16 else "float32"}


def predict(who: str) -> dict:
    """Some test messages scored twice; the second time counts."""
    import torch
    from transformers import AutoTokenizer, pipeline

    from finewright.core import assets, hardware
    from finewright.core.config import DEFAULT_TASK
    from finewright.data import readers
    from finewright.inference import predictor

    records, _ = readers.read_records(assets.TICKETS / "test.csv")
    messages = [str(record.values["text"]) for record in records[:NUM_MESSAGES]]
    bf16 = "bf16" in who or (who == FINEWRIGHT and hardware.choose_precision("auto", hardware=hardware.detect())[0] == "bfloat16")
    with tempfile.TemporaryDirectory() as place:
        tokenizer = AutoTokenizer.from_pretrained(assets.MODELS / "mini")
        tokenizer.pad_token = tokenizer.eos_token
        net = network()
        net.config.pad_token_id = tokenizer.pad_token_id
        net.save_pretrained(place)
        tokenizer.save_pretrained(place)
        if who == FINEWRIGHT:
            score = predictor.Predictor.load(Path(place), limit=512, keep_end=False, task=DEFAULT_TASK, bfloat16=bf16).score
        else:
            kind = torch.bfloat16 if bf16 else torch.float32
            made = pipeline("text-classification", model=place, dtype=kind, device="cpu", batch_size=16, top_k=None)

            def score(messages: list[str]) -> object:
                return made(sorted(messages, key=len) if "sorted" in who else messages)

        score(messages)
        cpu, wall = time.process_time(), time.perf_counter()
        score(messages)
        told = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
    lengths = [len(ids) for ids in tokenizer(messages)["input_ids"]]
    return told | {"tokens": sum(lengths), "lengths": lengths, "precision": "bfloat16" if bf16 else "float32"}


def cell(who: str, method_name: str, *, num_steps: int, threads: int) -> dict:
    """One measurement, in this process; `skipped` where a peer is not installed."""
    import torch

    torch.set_num_threads(threads)
    try:
        told = _measured(who, method_name, num_steps=num_steps)
    except ImportError as error:
        if who == FINEWRIGHT:
            raise
        return {"who": who, "method_name": method_name, "skipped": str(error).strip().splitlines()[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds, clock = ("cpu_seconds", time.process_time) if threads == 1 else ("wall_seconds", time.perf_counter)
    spread = Texts.of(told.pop("lengths", None) or [len(one) for one in texts()])
    told |= {"rate": told["tokens"] / told[seconds], "seconds": seconds, "threads": threads, "peak_resident_bytes": peak}
    told |= {"matmul_rate": matmul_rate(clock), "flops": flops(method_name, spread, filled="filling_cpu_seconds" not in told)}
    if "filling_cpu_seconds" in told:
        told["passes_flops"] = flops(method_name, spread, filled=1 / PASSES)
    return {"who": who, "method_name": method_name, **told}


def _measured(who: str, method_name: str, *, num_steps: int) -> dict:
    if method_name == PREDICT:
        return predict(who)
    if who == FINEWRIGHT:
        return finewright(method_name, num_steps)
    return trainer(method_name, num_steps, bf16=who != TRAINERS[0], best=who == TRAINERS[2])


def show(cells: list[dict]) -> None:
    """Medians and spread, with how many times the Trainer's rate ours is."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for one in (one for one in cells if "skipped" not in one):
        groups.setdefault((one["method_name"], one["who"]), []).append(one)
        if "filling_cpu_seconds" in one:
            groups.setdefault((one["method_name"], f"{one['who']}, {PASSES} passes"), []).append(_with_filling(one))
    for line in dict.fromkeys(f"left out: {one['who']} ({one['skipped']})" for one in cells if "skipped" in one):
        print(line)
    told = next(iter(groups.values()), [{"seconds": "cpu_seconds", "threads": 1}])[0]
    kind, threads = "CPU-second" if told["seconds"] == "cpu_seconds" else "second of wall clock", told["threads"]
    unit = f"{kind}, {threads} thread{'s' * (threads > 1)}"
    print(
        f"| method | who | tokens per {unit}: median (least–most) | Finewright is | of the peak: plain | needed | resident MB |"
    )
    print("|---|---|---|---|---|---|---|")
    for (method_name, who), found in groups.items():
        rates = [one["rate"] for one in found]
        own = [cells for (one, name), cells in groups.items() if one == method_name and FINEWRIGHT in name]
        ours = [statistics.median(cell["rate"] for cell in cells) for cells in own]
        times = "" if FINEWRIGHT in who else ", ".join(f"{one / statistics.median(rates):.2f} ×" for one in ours)
        shares = " | ".join(f"{_share(found, kind):.0%}" for kind in ("plain", "needed"))
        peak = statistics.median(one["peak_resident_bytes"] for one in found) / 1e6
        spread = f"{statistics.median(rates):.0f} ({min(rates):.0f}–{max(rates):.0f})"
        print(f"| {method_name} | {who} | {spread} | {times} | {shares} | {peak:,.0f} |")


def _share(found: list[dict], kind: str) -> float:
    return statistics.median(one["rate"] * one["flops"][kind] / one["matmul_rate"] for one in found)


def _with_filling(one: dict) -> dict:
    """The rate over several passes, the first of which runs the frozen layers too."""
    tokens = PASSES * one["filled_tokens"]
    rate = tokens / (one[f"filling_{one['seconds']}"] + tokens / one["rate"])
    return one | {"rate": rate, "flops": one["passes_flops"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", action="append", choices=[*METHODS, PREDICT])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="a file of --out to print again")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(*arguments.cell, num_steps=arguments.steps, threads=arguments.threads)))
        return
    if arguments.table:
        show(json.loads(arguments.table.read_text())["cells"])
        return
    from finewright.core import hardware

    environment, cells = hardware.environment(), list[dict]()
    with tempfile.TemporaryDirectory() as store:
        for number in range(arguments.rounds):
            for method_name in arguments.method or [*METHODS, PREDICT]:
                for who in (FINEWRIGHT, *(PIPELINES if method_name == PREDICT else TRAINERS)):
                    cells.append(_in_child(who, method_name, arguments, store=f"{store}/{number}"))
                    if arguments.out:
                        arguments.out.write_text(json.dumps({"environment": environment, "cells": cells}, indent=1))
    lengths = sorted(map(len, texts()))
    print(f"{NUM_TEXTS} texts, mean {statistics.mean(lengths):.1f} tokens, 95 % below {lengths[int(0.95 * NUM_TEXTS)]}")
    print(json.dumps(environment))
    show(cells)


def _in_child(who: str, method_name: str, arguments: argparse.Namespace, *, store: str) -> dict:
    """`store`: a cache of its own for each round, so that nothing is kept from an earlier one."""
    words = ["--steps", str(arguments.steps), "--threads", str(arguments.threads), "--cell", who, method_name]
    return children.cell(__file__, words, store=store, threads=arguments.threads)


if __name__ == "__main__":
    main()
