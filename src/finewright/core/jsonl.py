"""Logs of a run, in JSON lines: appended to, and cut back to what a checkpoint knew."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finewright.core import files


def append(path: Path, line: dict[str, Any]) -> None:
    """Append one line of JSON."""
    with files.explaining_os_errors(path):
        files.append(path, (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace"))


def digest(path: Path) -> dict[str, Any]:
    """Return the size and the hash of a log, which is on the medium at return."""
    content = b""
    if path.exists():
        files.sync(path)
        content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def check(path: Path, sealed: Mapping[str, Any]) -> str:
    """Return what is wrong with the part of a log that `digest` saw, or an empty text."""
    content = path.read_bytes()[: sealed["bytes"]] if path.exists() else b""
    same = hashlib.sha256(content).hexdigest() == sealed["sha256"]
    return "" if same else f"{path.name} is not what was saved"


def truncate(path: Path, num_bytes: int) -> None:
    """Cut off what was logged later."""
    with files.explaining_os_errors(path):
        if path.exists() and path.stat().st_size > num_bytes:
            files.truncate(path, num_bytes)
