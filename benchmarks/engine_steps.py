"""The engine's own steps, prepared as `train` prepares them, and nothing else of a run: what the benchmarks of speed count."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from finewright import anatomy, attention, batches, compiling, engine, hardware, methods, models, optim, savings, step
from finewright.config import TrainKnobs
from finewright.encoding import TokenRows
from finewright.tasks import Classification
from finewright.tuned import Origin

EPOCHS = 3
LR = 1e-4
PLAIN: dict[str, Any] = {
    "warmup_fraction": 0.0,
    "schedule": "constant",
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "early_stopping": 0,
}


def measure(  # noqa: PLR0913  what is trained, how, and where
    net: Any,
    ids: Sequence[Sequence[int]] | TokenRows,
    *,
    method: str,
    knobs: dict[str, Any],
    num_labels: int,
    num_steps: int,
    least_seconds: float = 0.0,
    device: str = "cpu",
    compiled: bool = False,
    at_once: bool = True,
    rows_per_step: int = 0,
    heard: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Tokens, CPU-seconds and wall seconds of updates after the first, and of running frozen blocks once where that is kept.

    There are `num_steps` updates, and more until `least_seconds` of CPU time have passed. In lists: of each update.

    `at_once`: attention in one kernel on a GPU that has it, else length by length. `rows_per_step`: texts of an update on
    average, 0: as a run chooses. `heard` is called with 0 before the first update and with its number after each one: a GPU
    works on after a call returns, so who counts its seconds waits there.
    """
    began = _now()
    attention.register()
    net.set_attn_implementation(attention.NAME)
    shape = anatomy.of(net.config)
    encoded = batches.Encoded(ids, (), [row % num_labels for row in range(len(ids))])
    tuned = methods.make(method, knobs).prepare(net, anatomy=shape, head=shape.head, origin=Origin("made here", "", None))
    if hardware.choose_precision("auto", hardware=hardware.detect())[0] == "bfloat16":
        models.use_bfloat16(tuned)
    lengths = [length + tuned.prompt_tokens for length in encoded.lengths]
    budget, _ = batches.choose_budget(lengths)
    if rows_per_step:
        budget = max(rows_per_step * sum(lengths) // len(lengths), *lengths)
    steps = batches.steps(lengths, budget=budget, accumulation=1, seed=0, epochs=EPOCHS)
    recipe = engine.Recipe(steps, lr=LR, evaluate_every=len(steps), **PLAIN)
    known = savings.Texts(encoded.lengths, [], tokens=encoded.tokens())
    saved = savings.choose(tuned, train=TrainKnobs(), texts=known, recipe=recipe, memory_bytes=hardware.free_bytes(device))
    saved.apply(tuned, device=device)
    tuned.owner.to(device)
    if not at_once:
        net.set_attn_implementation(attention.NAME)
    if compiled:
        compiling.begin(tuned)
    optimizer = optim.build(tuned, lr=recipe.lr, weight_decay=recipe.weight_decay)
    ready = _now()
    splits = {"train": encoded}
    saved.fill(tuned, splits, ("train",))
    filled = _now()
    task, done, marks = Classification(tuple(map(str, range(num_labels)))), [], []
    torch.manual_seed(0)
    heard(0)
    for number, one in enumerate(steps):
        if number > num_steps and marks[-1][0] - marks[0][0] >= least_seconds:
            break
        tuned.train()
        parts = [batches.collate(splits["train"], rows, device=device) for rows in one.batches]
        step.train_step(tuned, parts, task=task, optimizer=optimizer, lr=recipe.lr, clip_norm=recipe.clip_norm)
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
        "precision": "bfloat16" if tuned.bfloat16 else "float32",
    }
    if not saved.where:
        return told
    filling = {"filling_cpu_seconds": filled[0] - ready[0], "filling_wall_seconds": filled[1] - ready[1]}
    return told | filling | {"filled_tokens": sum(encoded.lengths)}


def _now() -> tuple[float, float]:
    """CPU-seconds and seconds."""
    return time.process_time(), time.perf_counter()
