"""This machine: device, cores, memory, and the dtype in which it is fast."""

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

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
    "bitsandbytes",
    "accelerate",
)
_FAST_FLAGS = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Hardware:
    """`memory_bytes`: RAM this process may use. `device_memory_bytes`: the accelerator's own, 0 where it has none."""

    device: Literal["cpu", "cuda", "mps"]
    device_name: str
    cpu_count: int
    memory_bytes: int
    device_memory_bytes: int
    fast_bfloat16: bool
    reason: str


def detect() -> Hardware:
    """Return the machine as it is now."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        fast = properties.major >= 8 and torch.cuda.is_bf16_supported()
        reason = f"{properties.name} has compute capability {properties.major}.{properties.minor}"
        return Hardware("cuda", properties.name, cpu_count(), memory_bytes(), properties.total_memory, fast, reason)
    if torch.backends.mps.is_available():
        return Hardware("mps", platform.processor(), cpu_count(), memory_bytes(), 0, False, "float32 is what Metal is exact in")
    return describe_cpu()


def describe_cpu() -> Hardware:
    """Return the machine without its accelerators. Where the system lists the processor's flags, PyTorch is not loaded."""
    flag = next((flag for flag in _FAST_FLAGS if flag in _cpu_flags()), "")
    reason = f"this CPU has {flag}" if flag else "this CPU has no bfloat16 arithmetic"
    return Hardware("cpu", _cpu_name(), cpu_count(), memory_bytes(), 0, bool(flag), reason)


Precision = Literal["auto", "float32", "bfloat16"]
"""What may be asked for as the dtype of matrix products."""


def choose_precision(wanted: str, *, hardware: Hardware) -> tuple[str, str]:
    """Return (`float32` or `bfloat16`, the reason); `auto` takes the dtype in which the machine is fast."""
    if wanted != "auto":
        return wanted, "as asked for"
    return ("bfloat16" if hardware.fast_bfloat16 else "float32"), hardware.reason


def cpu_count() -> int:
    """Return the cores that this process may use, by affinity and control-group quota, rounded down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    for group in _control_groups("cpu"):
        quota, _, period = _read(f"{group}/cpu.max").partition(" ")
        if not quota:
            quota, period = _read(f"{group}/cpu.cfs_quota_us"), _read(f"{group}/cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def memory_bytes() -> int:
    """Return the RAM that this process may use: physical, or the least limit of its control groups."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(limit for _, limit in _memory_limits())])


def free_bytes(device: str = "cpu") -> int:
    """Return the memory available now: of the accelerator, else main memory that is free or reclaimable."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    limit = memory_bytes()
    available = int(found[1]) * 1024 if found else limit
    return min([available, limit, *(max(0, own - _group_bytes(group)) for group, own in _memory_limits())])


def _group_bytes(group: str) -> int:
    """Return the memory of a control group that is not reclaimable, 0 if it is not known.

    The group's count includes the page cache. The kernel frees inactive pages of it on demand, so they count as free.
    """
    for name, inactive in (("memory.current", "inactive_file"), ("memory.usage_in_bytes", "total_inactive_file")):
        if (count := _read(f"{group}/{name}")).isdigit():
            found = re.search(rf"^{inactive} (\d+)$", _read(f"{group}/memory.stat"), re.MULTILINE)
            return max(0, int(count) - (int(found[1]) if found else 0))
    return 0


def _memory_limits() -> Iterator[tuple[str, int]]:
    """Yield (control group, limit) for each group with a limit: all limits apply, and each group has its own count."""
    for group in _control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _read(f"{group}/{name}")).isdigit():
                yield group, int(limit)


def _control_groups(controller: str) -> Iterator[str]:
    """Yield the folders of this process's control groups, version 2 and version 1, each with its parents.

    A batch system or systemd sets the limit on a group below the root; a container shows its own group as the root.
    """
    yield from ("/sys/fs/cgroup", f"/sys/fs/cgroup/{controller}")
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        inner = PurePosixPath(group)
        root = f"/sys/fs/cgroup/{controller}" if controllers else "/sys/fs/cgroup"
        yield from (f"{root}{path}" for path in (inner, *inner.parents) if path.name)


def peak_resident_bytes() -> int:
    """Return the largest resident set of this process so far, 0 if the system does not report it."""
    if peak := _status_bytes("VmHWM"):
        return peak
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB", _read("/proc/self/status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, Any]:
    """Return what the last bits of a result depend on besides the data and the options."""
    import torch

    flags = hashlib.sha256(" ".join(sorted(_cpu_flags())).encode()).hexdigest()[:12]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    processor = {"name": _cpu_name(), "flags": flags, "kernels": torch.backends.cpu.get_cpu_capability(), "device": device}
    return {"versions": versions(), "processor": processor, "threads": torch.get_num_threads()}


def git_state() -> str:
    """Return the commit of the current folder, with `-dirty` if files differ; empty outside a checkout."""
    if not shutil.which("git"):
        return ""
    # Without the option git would lock and rewrite the index, perhaps during a commit.
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
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
    """Return the flags in /proc/cpuinfo; without that file, those that torch knows."""
    if flags := _cpu_field("flags"):
        return set(flags.split())
    import torch

    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return {"avx512_bf16"} if known is not None and known() else set()


def _cpu_name() -> str:
    return _cpu_field("model name") or platform.processor() or platform.machine()
