"""Save checkpoints atomically, and load the newest intact one.

A checkpoint is a folder `step-00000120`. It gets its name by a rename, after all its files are synced to disk; there is no
pointer to the newest one that could disagree. `MANIFEST.json` has the SHA-256 of every file and of itself (`seal`).
"""

import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from finewright.core import files as file_system
from finewright.core.errors import ExitCode, UserError
from finewright.core.files import find_free_name, new_file, remove, rename, sha256

MANIFEST = "MANIFEST.json"
SCHEMA = 1
"""Version of the manifest; older ones stay readable."""
KEEP_LAST = 2
"""Checkpoints that are kept: the newest, and one to fall back on."""
_STEP = re.compile(r"step-(\d{8,})")
_DRAFT, _DAMAGED = ".tmp-", ".bad-"
_SUFFIX = ".safetensors"
_CHUNK = 1 << 24
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint. `metadata`: the entries of the manifest that were given to `save_checkpoint`."""

    path: Path
    step: int
    metadata: dict[str, Any]
    files: dict[str, dict[str, Any]]

    def has(self, group: str) -> bool:
        """Whether the checkpoint holds a group of tensors of that name."""
        return group + _SUFFIX in self.files

    def tensors(self, group: str) -> dict[str, torch.Tensor]:
        """Return copies of the tensors of a group; raise `UserError` if the file was changed since it was saved."""
        path = self.path / (group + _SUFFIX)
        if fault := _file_fault(path, self.files[path.name]):
            raise _mismatch_error(fault, path)
        return {name: tensor.clone() for name, tensor in load_file(path).items()}


def save_checkpoint(
    root: Path,
    *,
    step: int,
    groups: Mapping[str, Tensors],
    metadata: Mapping[str, Any],
    carried: Mapping[str, tuple[Checkpoint, str]] | None = None,
) -> Checkpoint:
    """Save `step-XXXXXXXX` under `root`, completely or not at all, then remove all but the newest KEEP_LAST.

    `carried`: groups copied from an earlier checkpoint: name here → (that checkpoint, name there).
    """
    target, draft = root / f"step-{step:08d}", root / f"{_DRAFT}{step:08d}-{uuid.uuid4().hex[:8]}"
    try:
        file_system.make_folder(draft)
        files = {group + _SUFFIX: _write_tensors(draft / (group + _SUFFIX), tensors) for group, tensors in groups.items()}
        for group, (source, source_group) in (carried or {}).items():
            files[group + _SUFFIX] = _copy(source, source_group + _SUFFIX, draft / (group + _SUFFIX))
        body = {"schema": SCHEMA, "step": step, **metadata, "files": files}
        with new_file(draft / MANIFEST) as descriptor:
            file_system.write(descriptor, _seal(body))
        file_system.sync(draft)
        rename(draft, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(draft)
        raise _save_error(error, target) from None
    except BaseException:
        with contextlib.suppress(OSError):
            remove(draft)
        raise
    remove_old(root)
    return Checkpoint(target, step, dict(metadata), files)


def load_latest(
    root: Path, *, notify: Callable[[str], None], fault_of: Callable[[dict[str, Any]], str] = lambda metadata: ""
) -> Checkpoint | None:
    """Return the newest intact checkpoint whose metadata has no fault by `fault_of`. Remove drafts; rename others and say so."""
    remove_drafts(root)
    for path in reversed(_checkpoints(root)):
        found, fault = _open(path)
        if found is not None:
            fault = fault_of(found.metadata)
        if found is not None and not fault:
            return found
        aside = find_free_name(root / f"{_DAMAGED}{path.name}")
        with contextlib.suppress(OSError):
            rename(path, aside)
        notify(f"checkpoint {path.name} is not used: {fault} (kept as {aside.name})")
    return None


def remove_drafts(root: Path) -> None:
    """Remove checkpoints that were being written or removed when a process ended."""
    for draft in sorted(root.glob(f"{_DRAFT}*")):
        with contextlib.suppress(OSError):
            remove(draft)


def has_any(root: Path) -> bool:
    """Whether there is any checkpoint, damaged ones included."""
    return bool(_checkpoints(root)) or any(root.glob(f"{_DAMAGED}step-*"))


def remove_old(root: Path) -> None:
    """Remove all but the newest KEEP_LAST. Each is renamed first, so that a half-removed one is never read."""
    for path in _checkpoints(root)[:-KEEP_LAST]:
        doomed = root / f"{_DRAFT}{path.name}-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):  # too many checkpoints are no reason to stop training
            rename(path, doomed)
            remove(doomed)


def size_bytes(groups: Mapping[str, Tensors]) -> int:
    """Return the size on disk of a checkpoint of these groups, without headers."""
    return sum(tensor.numel() * tensor.element_size() for tensors in groups.values() for tensor in tensors.values())


def _checkpoints(root: Path) -> list[Path]:
    """Return checkpoints by step, not by time, as clocks can be changed."""
    found = [(int(match[1]), path) for path in root.glob("step-*") if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def _open(path: Path) -> tuple[Checkpoint | None, str]:
    """Return (the checkpoint, ""), or (None, what is wrong with it)."""
    try:
        raw = (path / MANIFEST).read_bytes()
        body = json.loads(raw)
        if _seal({key: value for key, value in body.items() if key != "seal"}) != raw:
            return None, f"{MANIFEST} is not what was saved"
        if body["schema"] > SCHEMA:
            raise _mismatch_error(f"written by a newer Finewright (schema {body['schema']}, known here: {SCHEMA})", path)
        if path.name != f"step-{body['step']:08d}":
            return None, f"{MANIFEST} is of step {body['step']}"
        faults = [_file_fault(path / name, expected) for name, expected in body["files"].items()]
        metadata = {key: value for key, value in body.items() if key not in ("schema", "step", "files", "seal")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{MANIFEST} cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"
    fault = next(filter(None, faults), "")
    return (None, fault) if fault else (Checkpoint(path, body["step"], metadata, body["files"]), "")


def _file_fault(path: Path, expected: Mapping[str, Any]) -> str:
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            return f"{path.name} has {size:,} bytes, {expected['bytes']:,} were saved"
        digest = sha256(path)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return "" if digest == expected["sha256"] else f"{path.name} is not what was saved"


def _seal(body: Mapping[str, Any]) -> bytes:
    """Return the manifest as it is written, with a hash of all other entries, so that any change is detected."""
    plain = json.dumps(body, indent=1, ensure_ascii=True, allow_nan=False)
    return json.dumps({**body, "seal": hashlib.sha256(plain.encode()).hexdigest()}, indent=1, allow_nan=False).encode()


def _write_tensors(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Write a safetensors file and hash it; not by safetensors, as every byte must go through `core.files`."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest, size = hashlib.sha256(), 0
    with new_file(path) as descriptor:
        for piece in (len(text).to_bytes(8, "little"), text, *map(_bytes, tensors.values())):
            digest.update(piece)
            file_system.write(descriptor, piece)
            size += len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _bytes(tensor: torch.Tensor) -> memoryview:
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _copy(source: Checkpoint, name: str, target: Path) -> dict[str, Any]:
    """Copy a file of an earlier checkpoint; raise `UserError` if its hash is not the one that was saved."""
    expected, digest = source.files[name], hashlib.sha256()
    with new_file(target) as descriptor:
        for piece in _read_pieces(source.path / name):
            digest.update(piece)
            file_system.write(descriptor, piece)
    if digest.hexdigest() != expected["sha256"]:
        raise _mismatch_error("the file is not what was saved", source.path / name)
    return expected


def _read_pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as handle:
        while piece := handle.read(_CHUNK):
            yield piece


def _save_error(error: OSError, target: Path) -> UserError:
    with contextlib.suppress(OSError):
        disk = os.statvfs(target.parent)
        free = f"; {disk.f_bavail * disk.f_frsize / 1e6:,.0f} MB are free"
        what = f"cannot save the checkpoint: {error.strerror or error}{free}"
        fix = "free some disk space, then the same command continues from the last checkpoint"
        return UserError(what, where=str(target), fix=fix, code=ExitCode.DISK)
    return UserError(f"cannot save the checkpoint: {error.strerror or error}", where=str(target), code=ExitCode.DISK)


def _mismatch_error(what: str, path: Path) -> UserError:
    fix = "the same command continues from the checkpoint before"
    return UserError(what, where=str(path), fix=fix, code=ExitCode.MISMATCH)
