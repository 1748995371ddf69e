"""Everything that must survive, to disk and back, in one atomic commit."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from finewright.errors import ExitCode, UserError

MANIFEST = "MANIFEST.json"
_WEIGHTS = "weights.safetensors"


def save(root: Path, *, step: int, weights: Mapping[str, torch.Tensor], state: dict[str, Any]) -> Path:
    """Commit `step-XXXXXXXX` under `root`; it is there whole or not at all. Older ones are removed afterwards."""
    target = root / f"step-{step:08d}"
    temporary = root / f".tmp-{step:08d}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir(parents=True)
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, temporary / _WEIGHTS)
        _sync(temporary / _WEIGHTS)
        manifest = {"step": step, "state": state, "files": {_WEIGHTS: _fingerprint(temporary / _WEIGHTS)}}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        _sync(temporary / MANIFEST)
        _sync(temporary)
        os.rename(temporary, target)
        _sync(root)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot save the checkpoint: {reason}", where=str(target), fix="free some space", code=ExitCode.DISK
        ) from None
    for older in sorted(root.glob("step-*"))[:-1]:
        shutil.rmtree(older)
    return target


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, checked against its manifest; a damaged file is named in a `UserError`."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = manifest["files"][_WEIGHTS]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the manifest cannot be read: {error}", where=str(folder / MANIFEST), code=ExitCode.MISMATCH) from None
    path = folder / _WEIGHTS
    if not path.exists() or _fingerprint(path) != expected:
        raise UserError("the file is not what was saved", where=str(path), fix="train again", code=ExitCode.MISMATCH)
    return load_file(path)


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
