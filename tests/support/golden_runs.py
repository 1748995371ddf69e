"""Golden runs: every method on small data with fixed seeds, and the SHA-256 of what came out.

    python tests/support/golden_runs.py            compare with tests/golden/hashes.json
    python tests/support/golden_runs.py --write    record the hashes of this kind of machine

Hashes cover tensors by name, predictions and metrics by value, never file layout. They hold for one kind of processor and
one version of PyTorch, so they are kept per kind.
"""

import argparse
import hashlib
import json
import platform
import struct
import sys
import tempfile
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden" / "hashes.json"
SHARED = Path(__file__).parents[3] / "shared"
COMMON = {
    "training.num_threads": 1,
    "training.max_steps": 6,
    "training.logging_steps": 1,
    "training.evals_per_epoch": 2,
    "training.early_stopping_patience": 0,
    "training.head_start": "random",
    "training.pooling": "standard",
}
TICKETS_ROWS, TEST_ROWS = 240, 60
RUNS = {
    "mini-full": ("mini", "full", {}),
    "mini-freeze": ("mini", "freeze", {"training.frozen_layer_cache": "on"}),
    "mini-freeze-uncached": ("mini", "freeze", {"training.frozen_layer_cache": "off"}),
    "mini-lora": ("mini", "lora", {}),
    "mini-lora-bfloat16": ("mini", "lora", {"training.precision": "bfloat16"}),
    "mini-lora-balanced": ("mini", "lora", {"training.class_weights": "balanced", "training.gradient_accumulation_steps": 2}),
    "mini-qlora": ("mini", "qlora", {}),
    "mini-prompt": ("mini", "prompt", {}),
    "mini-scratch": ("mini", "scratch", {}),
    "minilm-lora": ("minilm", "lora", {}),
    "minilm-full": ("minilm", "full", {}),
    "llama-lora": ("llama", "lora", {}),
    "llama-prompt": ("llama", "prompt", {}),
    "bert-lora": ("bert", "lora", {}),
    "gpt2-lora-checkpointing": ("gpt2", "lora", {"training.gradient_checkpointing": "on", "training.micro_batch_splits": 1}),
}
"""Name of a run → (model, method, options)."""


def machine() -> str:
    """What decides the last digits: processor, its vector instructions, PyTorch."""
    import torch

    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}"


def data(folder: Path) -> tuple[Path, Path]:
    """A training and a test file, cut from the embedded tickets."""
    from finewright.core.assets import TICKETS as place

    made = []
    for name, count in (("train", TICKETS_ROWS), ("test", TEST_ROWS)):
        made.append(folder / f"{name}.csv")
        made[-1].write_text("".join((place / f"{name}.csv").read_text().splitlines(keepends=True)[: count + 1]))
    return made[0], made[1]


def model_of(name: str, folder: Path) -> str | None:
    """The embedded model, a real one beside the project, or a tiny random one; None where it is absent."""
    if name == "mini":
        return name
    if name == "minilm":
        path = SHARED / "models" / "all-MiniLM-L6-v2"
        return str(path) if path.exists() else None
    from support import tiny

    path = folder / name
    return str(path if path.exists() else tiny.folder(path, kind=name))


def hash_tensors(folder: Path) -> str:
    """Of all tensors of a model folder, by name, dtype, shape and bytes."""
    from safetensors import safe_open

    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in sorted(opened.keys()):
                tensor = opened.get_tensor(name)
                digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.contiguous().view(-1).view(__import__("torch").uint8).numpy().tobytes())
    return digest.hexdigest()


def hash_predictions(file: Path) -> str:
    """Of text, label, predicted label and probability of every row."""
    digest = hashlib.sha256()
    for line in map(json.loads, file.read_text().splitlines()):
        digest.update(json.dumps([line["text"], line["label"], line["predicted"]]).encode())
        digest.update(struct.pack("<d", line["probability"]))
    return digest.hexdigest()


def hash_metrics(file: Path) -> str:
    """Of all numbers in metrics.jsonl, in order of their names as they were when the hashes were made."""
    digest = hashlib.sha256()
    for line in map(json.loads, file.read_text().splitlines()):
        known = line.get("validation") or {}
        for value in (line["step"], line["epoch"], *(line.get(key) for key in ("loss", "lr", "grad_norm"))):
            digest.update(repr(value).encode())
        for key in ("accuracy", "macro_f1", "loss"):
            digest.update(repr(known.get(key)).encode())
    return digest.hexdigest()


def hashes(only: list[str]) -> dict[str, dict[str, str]]:
    """Train every golden run; name → hashes."""
    import finewright

    found = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        train, test = data(folder)
        for name, (model_name, method, extra) in RUNS.items():
            model = model_of(model_name, folder)
            if model is None or (only and name not in only):
                continue
            run = finewright.train(train, model=model, method=method, test=test, output_dir=folder / name, options=COMMON | extra)
            found[name] = {
                "weights": hash_tensors(run.path / "model"),
                "predictions": hash_predictions(run.path / "predictions.jsonl"),
                "metrics": hash_metrics(run.path / "metrics.jsonl"),
            }
            print(name, found[name]["weights"][:12], file=sys.stderr, flush=True)
    return found


def differences(kept: dict[str, dict[str, str]], found: dict[str, dict[str, str]]) -> list[str]:
    """What is not as it was."""
    return [f"{name}: {key}" for name in found if name in kept for key in kept[name] if kept[name][key] != found[name][key]]


def main() -> int:
    """Compare or record; 1 where something differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    found = hashes(given.only)
    if given.write:
        known[machine()] = known.get(machine(), {}) | found
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        return 0
    if machine() not in known:
        print(f"no golden hashes for {machine()}", file=sys.stderr)
        return 2
    wrong = differences(known[machine()], found)
    print("\n".join(wrong) or f"{len(found)} runs, all the same")
    return bool(wrong)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
