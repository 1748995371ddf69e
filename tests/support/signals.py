"""Which signals a process handles: without a handler, the interpreter is still starting."""

import re
from pathlib import Path


def has_handler(process: int, number: int) -> bool:
    """Return whether a process has a handler for a signal (Linux only)."""
    status = Path(f"/proc/{process}/status").read_text()
    return bool(int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16) >> (number - 1) & 1)
