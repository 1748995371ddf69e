"""Folders of finished runs, written without training."""

import json
import os
import random
from pathlib import Path
from typing import Any

LABELS = ("billing", "returns", "shipping")


def compute_metrics(right: list[bool], truth: list[str], said: list[str]) -> dict[str, Any]:
    """Return the metrics of a split, computed by the project's code."""
    import numpy as np

    from finewright.tasks import metrics

    shares = np.full((len(truth), len(LABELS)), 0.1)
    for row, label in enumerate(said):
        shares[row, LABELS.index(label)] = 0.8
    assert right == [a == b for a, b in zip(truth, said, strict=True)]
    return metrics.classification_metrics(shares, [LABELS.index(label) for label in truth], labels=LABELS)


def write_run(root: Path, method: str = "lora", *, name: str = "", accuracy: float = 0.8, seed: int = 0, **changes: Any) -> Path:
    """Write a finished run; `changes` go into result.json."""
    folder = root / (name or f"{method}-{seed}")
    folder.mkdir(parents=True)
    rng = random.Random(f"{method}{seed}")
    truth = [LABELS[rng.choice((0, 0, 1, 2, 2, 2))] for _ in range(120)]
    said = [label if rng.random() < accuracy else rng.choice([one for one in LABELS if one != label]) for label in truth]
    right = [a == b for a, b in zip(truth, said, strict=True)]
    trained = {"lora": 50_000, "full": 7_000_000, "scratch": 7_000_000, "freeze": 2_400_000, "prompt": 6_000}[method]
    seconds = {"lora": 20.0, "full": 30.0, "scratch": 31.0, "freeze": 15.0, "prompt": 40.0}[method]
    result = {
        "method": method, "model": "mini", "seed": seed, "num_train": 1000, "trainable_parameters": trained,
        "head_parameters": 768, "total_parameters": 7_050_000, "trainable_fraction": trained / 7_050_000, "epochs": 2.0,
        "steps": 126, "best_step": 63, "train_seconds": seconds, "artifact_bytes": trained * 4 + 1000,
        "peak_memory_bytes": 90_000_000 + trained * 60, "planned_peak_memory_bytes": 80_000_000 + trained * 60,
        "planned_seconds": 30.0, "schema_version": 2,
        "metrics": dict.fromkeys(("test", "validation"), compute_metrics(right, truth, said)),
    }  # fmt: skip
    result |= changes
    choices = [
        {"option": "device", "value": "cpu", "reason": "no other here"},
        {"option": "training.learning_rate", "value": 1e-3, "reason": f"the default of {method}"},
        {"option": "training.tokens_per_micro_batch", "value": 500, "reason": "16 texts of 31 tokens"},
    ]
    config = {"method": method, "method_options": {"rank": 8}, "choices": choices, "labels": list(LABELS)}
    request = {"source": "tickets", "test": None, "settings": {}, "method": method, "method_options": {}}
    config |= {"request": request, "schema_version": 2}
    config |= {"data_fingerprint": "f" * 64, "settings": {"training": {"epochs": 2.0, "learning_rate": None}}}
    memory = {"weights": 28_000_000, "gradients": trained * 4, "optimizer": trained * 8, "activations": 52_000_000}
    plan = {
        key: result[key] for key in ("method", "trainable_parameters", "head_parameters", "total_parameters", "artifact_bytes")
    }
    plan |= {"peak_memory_bytes": result["planned_peak_memory_bytes"], "memory": memory, "flops": 10**12, "seconds": 30.0}
    plan |= {"fits": True, "budget_bytes": 10**10, "schema_version": 2}
    lines: list[dict[str, Any]] = [{"step": step, "epoch": step / 63, "loss": 1.1 - step / 200} for step in range(10, 127, 10)]
    for step in (63, 126):
        value = accuracy - 0.05 * (step != (126 if result["best_step"] == 126 else 63))
        lines.append({"step": step, "epoch": step / 63, "validation": {"accuracy": value, "macro_f1": value, "loss": 1 - value}})
    for file, value in (
        ("config.json", config),
        ("checks.json", {"findings": []}),
        ("plan.json", plan),
        ("result.json", result),
    ):
        (folder / file).write_text(json.dumps(value))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"n_embd": 256}')
    rows = [
        {"text": f"text {i}", "label": a, "predicted": b, "probability": 0.8}
        for i, (a, b) in enumerate(zip(truth, said, strict=True))
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_runs(root: Path) -> list[Path]:
    """Write runs of five methods on the same data, the first one the newest."""
    candidates = {"lora": 0.85, "full": 0.86, "freeze": 0.8, "prompt": 0.75, "scratch": 0.5}
    made = [write_run(root, method, accuracy=accuracy) for method, accuracy in candidates.items()]
    for age, path in enumerate(made):
        os.utime(path / "result.json", (1_700_000_000 - age, 1_700_000_000 - age))
    return made
