"""What the program says when it is called without a command."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from finewright.core import hardware
from finewright.core.program import program_name, quote_path

_DATA_FILES = (".csv", ".tsv", ".xlsx", ".jsonl", ".parquet")


def welcome_lines(folder: Path) -> list[str]:
    """Return what the program does, what it runs on, and three commands that run as printed in `folder`."""
    name = program_name()
    commands = [
        (f"{name} demo", "learn from 56 built-in messages, under a minute"),
        (f"{name} train {_find_data(folder) or '--help'}", "fine-tune on a file of yours, with a text and a label in each row"),
        (f"{name} learn", "a course with exercises that check themselves"),
    ]
    width = max(len(command) for command, _ in commands)
    return [
        "Finewright fine-tunes a pre-trained language model on your own text, and verifies the result.",
        f"Nothing leaves this machine. It has {describe_machine()}.",
        "",
        *(f"  {command:<{width}}   {text}" for command, text in commands),
    ]


def _find_data(folder: Path) -> str:
    """Return the name of a data file in `folder` as a shell reads it; empty if there is none."""
    found = sorted(path.name for path in folder.glob("*.*") if path.suffix in _DATA_FILES and path.is_file())
    return quote_path(found[0]) if found else ""


def describe_machine() -> str:
    """Return cores, memory and accelerator in words, found without PyTorch, which takes seconds to load."""
    cores = hardware.cpu_count()
    memory = f"{hardware.memory_bytes() / 1e9:.0f} GB of memory"
    return f"{cores} {'core' if cores == 1 else 'cores'}, {memory} and {_accelerator() or 'no GPU'}"


def _accelerator() -> str:
    """Return the name of the GPU, with its memory where the driver tells it; empty if none is found."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "an Apple GPU"
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = outcome.stdout.partition("\n")[0] if outcome.returncode == 0 else ""
    name, _, mebibytes = first.rpartition(", ")
    return f"{name} ({int(mebibytes) * 2**20 / 1e9:.0f} GB)" if name and mebibytes.isdigit() else ""
