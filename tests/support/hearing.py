"""Which signals a process has a handler for: before it has one, the interpreter itself is being loaded."""

import re
from pathlib import Path


def hears(process: int, number: int) -> bool:
    """From the kernel's mask, which Linux alone tells."""
    status = Path(f"/proc/{process}/status").read_text()
    return bool(int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16) >> (number - 1) & 1)
