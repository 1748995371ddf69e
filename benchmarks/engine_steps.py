"""The engine's own steps, prepared as `train` prepares them, and nothing else of a run: what the benchmarks of speed count."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from finewright import methods
from finewright.core import hardware
from finewright.core.config import TrainingConfig
from finewright.data import packing
from finewright.data.tokenization import TokenRows
from finewright.models import acceleration, architectures, meta, prepared
from finewright.models.attention import packed
from finewright.models.meta import BaseNetwork
from finewright.models.prepared import BaseModelRef
from finewright.planning import optimizations
from finewright.tasks.text_classification import TextClassification
from finewright.training import loop, step
from finewright.training import optimizer as optimizer_module

EPOCHS = 3
LR = 1e-4
PLAIN: dict[str, Any] = {
    "warmup_ratio": 0.0,
    "lr_scheduler": "constant",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "early_stopping_patience": 0,
}


def measure(  # noqa: PLR0913  what is trained, how, and where
    net: Any,
    ids: Sequence[Sequence[int]] | TokenRows,
    *,
    method: str,
    options: dict[str, Any],
    num_labels: int,
    num_steps: int,
    least_seconds: float = 0.0,
    device: str = "cpu",
    compiled: bool = False,
    at_once: bool = True,
    rows_per_step: int = 0,
    heard: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Tokens, CPU-seconds and wall seconds of updates after the first, and of running frozen layers once where that is kept.

    There are `num_steps` updates, and more until `least_seconds` of CPU time have passed. In lists: of each update.

    `at_once`: attention in one kernel on a GPU that has it, else length by length. `rows_per_step`: texts of an update on
    average, 0: as a run chooses. `heard` is called with 0 before the first update and with its number after each one: a GPU
    works on after a call returns, so who counts its seconds waits there.
    """
    began = _now()
    packed.register()
    net.set_attn_implementation(packed.NAME)
    architecture = architectures.architecture_of(net.config)
    base = BaseNetwork(
        net,
        architecture,
        BaseModelRef("made here", "", None),
        TextClassification.assumed(num_labels=num_labels).head_spec,
        new=architecture.head,
        reuses_head=False,
        total_parameters=meta.count_parameters(net),
    )
    encoded = packing.EncodedSplit(ids, (), [row % num_labels for row in range(len(ids))])
    prepared_model = methods.build_method(method, options).prepare(base)
    if hardware.choose_precision("auto", hardware=hardware.detect())[0] == "bfloat16":
        prepared.use_bfloat16(prepared_model)
    lengths = [length + prepared_model.prompt_tokens for length in encoded.lengths]
    budget, _ = packing.auto_tokens_per_batch(lengths)
    if rows_per_step:
        budget = max(rows_per_step * sum(lengths) // len(lengths), *lengths)
    steps = packing.schedule_updates(lengths, budget=budget, gradient_accumulation_steps=1, seed=0, epochs=EPOCHS)
    schedule = loop.TrainingSchedule(steps, lr=LR, evaluate_every=len(steps), **PLAIN)
    known = optimizations.SplitLengths(encoded.lengths, [], tokens=encoded.tokens())
    saved = optimizations.choose_optimizations(
        prepared_model, options=TrainingConfig(), texts=known, schedule=schedule, memory_bytes=hardware.free_bytes(device)
    )
    saved.apply(prepared_model, device=device)
    prepared_model.trainable_module.to(device)
    if not at_once:
        net.set_attn_implementation(packed.NAME)
    if compiled:
        acceleration.start_compiling(prepared_model)
    optimizer = optimizer_module.build_optimizer(prepared_model, lr=schedule.lr, weight_decay=schedule.weight_decay)
    ready = _now()
    splits = {"train": encoded}
    saved.fill(prepared_model, splits, ("train",))
    filled = _now()
    task, done, marks = TextClassification(tuple(map(str, range(num_labels)))), [], []
    torch.manual_seed(0)
    heard(0)
    for number, one in enumerate(steps):
        if number > num_steps and marks[-1][0] - marks[0][0] >= least_seconds:
            break
        prepared_model.train()
        parts = [packing.collate(splits["train"], rows, device=device) for rows in one.batches]
        step.train_step(
            prepared_model, parts, task=task, optimizer=optimizer, lr=schedule.lr, max_grad_norm=schedule.max_grad_norm
        )
        heard(number + 1)
        marks.append(_now())
        done.append(sum(len(encoded.ids[row]) for rows in one.batches for row in rows))
    cpu, wall = np.diff(np.array(marks), axis=0).T.tolist()
    told = {
        "tokens": sum(done[1:]),
        "cpu_seconds": sum(cpu),
        "wall_seconds": sum(wall),
        "step_tokens": done[1:],
        "step_cpu_seconds": cpu,
        "preparing_cpu_seconds": ready[0] - began[0],
        "precision": "bfloat16" if prepared_model.runtime.bfloat16 else "float32",
    }
    if not saved.where:
        return told
    filling = {"filling_cpu_seconds": filled[0] - ready[0], "filling_wall_seconds": filled[1] - ready[1]}
    return told | filling | {"filled_tokens": sum(encoded.lengths)}


def _now() -> tuple[float, float]:
    """CPU-seconds and seconds."""
    return time.process_time(), time.perf_counter()
