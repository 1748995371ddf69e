"""This machine: device, memory, the dtype it is fast in and why."""

import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PACKAGES = (
    "finewright",
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "numpy",
    "scikit-learn",
)
_FAST_FLAGS = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Hardware:
    """`memory_bytes`: RAM this process may use. `device_memory_bytes`: the accelerator's, 0 without one."""

    device: Literal["cpu", "cuda", "mps"]
    device_name: str
    cpu_count: int
    memory_bytes: int
    device_memory_bytes: int
    fast_bfloat16: bool
    reason: str


def detect() -> Hardware:
    """The machine as it is now."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        fast = properties.major >= 8 and torch.cuda.is_bf16_supported()
        reason = f"{properties.name} has compute capability {properties.major}.{properties.minor}"
        return Hardware("cuda", properties.name, cpu_count(), memory_bytes(), properties.total_memory, fast, reason)
    if torch.backends.mps.is_available():
        return Hardware("mps", platform.processor(), cpu_count(), memory_bytes(), 0, False, "float32 is what Metal is exact in")
    flag = next((flag for flag in _FAST_FLAGS if flag in _cpu_flags()), "")
    reason = f"this CPU has {flag}" if flag else "this CPU has no bfloat16 arithmetic"
    return Hardware("cpu", _cpu_name(), cpu_count(), memory_bytes(), 0, bool(flag), reason)


def choose_precision(wanted: str, *, hardware: Hardware) -> tuple[str, str]:
    """(`float32` or `bfloat16`, the reason); `auto` takes what the machine is fast in."""
    if wanted != "auto":
        return wanted, "as asked for"
    return ("bfloat16" if hardware.fast_bfloat16 else "float32"), hardware.reason


def cpu_count() -> int:
    """Cores this process may use: affinity and control-group quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def memory_bytes() -> int:
    """RAM this process may use: physical, or the control group's limit if that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_read(path) for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())])


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, str]:
    """Versions of Python and of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> str:
    """Commit of the current folder, with `-dirty` when files differ; empty outside a checkout."""
    if not shutil.which("git"):
        return ""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    return outcome.stdout.strip() if outcome.returncode == 0 else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cpu_field(name: str) -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _cpu_flags() -> set[str]:
    return set(_cpu_field("flags").split())


def _cpu_name() -> str:
    return _cpu_field("model name") or platform.processor() or platform.machine()
