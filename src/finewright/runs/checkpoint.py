"""Everything that must survive, to disk and back: one atomic commit, and the newest one that is whole.

A commit is a folder `step-00000120`. It appears under its name by a rename, after all its files are on the medium; there is no
pointer to the newest one that could disagree. `MANIFEST.json` has the SHA-256 of every file and a seal over itself.
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
"""Version of the manifest's form; older ones stay readable."""
KEEP_LAST = 2
"""Commits that stay: the newest, and one to fall back on."""
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
    """A commit that was found whole. `facts`: what was given to `save` beside the tensors."""

    path: Path
    step: int
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]]

    def has(self, group: str) -> bool:
        """Whether the commit holds tensors of that name."""
        return group + _SUFFIX in self.files

    def tensors(self, group: str) -> dict[str, torch.Tensor]:
        """Tensors of a group, in memory of their own; a file that was changed since is a `UserError`."""
        path = self.path / (group + _SUFFIX)
        if fault := _file_fault(path, self.files[path.name]):
            raise _mismatch(fault, path)
        return {name: tensor.clone() for name, tensor in load_file(path).items()}


def save_checkpoint(
    root: Path,
    *,
    step: int,
    groups: Mapping[str, Tensors],
    facts: Mapping[str, Any],
    carried: Mapping[str, tuple[Checkpoint, str]] | None = None,
) -> Checkpoint:
    """Commit `step-XXXXXXXX` under `root`: it is there whole or not at all. Older ones than KEPT go afterwards.

    `carried`: groups copied from an earlier commit, by their name here, the commit and their name there.
    """
    target, draft = root / f"step-{step:08d}", root / f"{_DRAFT}{step:08d}-{uuid.uuid4().hex[:8]}"
    try:
        file_system.make_folder(draft)
        files = {group + _SUFFIX: _write_tensors(draft / (group + _SUFFIX), tensors) for group, tensors in groups.items()}
        for group, (source, theirs) in (carried or {}).items():
            files[group + _SUFFIX] = _copy(source, theirs + _SUFFIX, draft / (group + _SUFFIX))
        body = {"schema": SCHEMA, "step": step, **facts, "files": files}
        with new_file(draft / MANIFEST) as descriptor:
            file_system.write(descriptor, _sealed(body))
        file_system.sync(draft)
        rename(draft, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(draft)
        raise _cannot_save(error, target) from None
    except BaseException:
        with contextlib.suppress(OSError):
            remove(draft)
        raise
    remove_old(root)
    return Checkpoint(target, step, dict(facts), files)


def load_latest(
    root: Path, *, notify: Callable[[str], None], fault_of: Callable[[dict[str, Any]], str] = lambda facts: ""
) -> Checkpoint | None:
    """The newest commit that is whole and in whose facts `fault_of` finds nothing; drafts are swept, others set aside, aloud."""
    remove_drafts(root)
    for path in reversed(_commits(root)):
        found, fault = _open(path)
        if found is not None:
            fault = fault_of(found.facts)
        if found is not None and not fault:
            return found
        aside = find_free_name(root / f"{_DAMAGED}{path.name}")
        with contextlib.suppress(OSError):
            rename(path, aside)
        notify(f"checkpoint {path.name} is not used: {fault} (kept as {aside.name})")
    return None


def remove_drafts(root: Path) -> None:
    """Remove what was being written or removed when a process ended."""
    for draft in sorted(root.glob(f"{_DRAFT}*")):
        with contextlib.suppress(OSError):
            remove(draft)


def any_begun(root: Path) -> bool:
    """Whether there is a commit of any state, damaged ones included."""
    return bool(_commits(root)) or any(root.glob(f"{_DAMAGED}step-*"))


def remove_old(root: Path) -> None:
    """Remove all commits but the newest KEPT. A commit loses its name first, so that a half-removed one is never read."""
    for path in _commits(root)[:-KEEP_LAST]:
        doomed = root / f"{_DRAFT}{path.name}-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):  # too many commits are no reason to stop training
            rename(path, doomed)
            remove(doomed)


def size_bytes(groups: Mapping[str, Tensors]) -> int:
    """What a commit of these takes on disk, headers aside."""
    return sum(tensor.numel() * tensor.element_size() for tensors in groups.values() for tensor in tensors.values())


def _commits(root: Path) -> list[Path]:
    """Commits by step; never by time, which clocks change."""
    found = [(int(match[1]), path) for path in root.glob("step-*") if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def _open(path: Path) -> tuple[Checkpoint | None, str]:
    """(the commit, ""), or (None, what is wrong with it)."""
    try:
        raw = (path / MANIFEST).read_bytes()
        body = json.loads(raw)
        if _sealed({key: value for key, value in body.items() if key != "seal"}) != raw:
            return None, f"{MANIFEST} is not what was saved"
        if body["schema"] > SCHEMA:
            raise _mismatch(f"written by a newer Finewright (form {body['schema']}, this one reads up to {SCHEMA})", path)
        if path.name != f"step-{body['step']:08d}":
            return None, f"{MANIFEST} is of step {body['step']}"
        faults = [_file_fault(path / name, expected) for name, expected in body["files"].items()]
        facts = {key: value for key, value in body.items() if key not in ("schema", "step", "files", "seal")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{MANIFEST} cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"
    fault = next(filter(None, faults), "")
    return (None, fault) if fault else (Checkpoint(path, body["step"], facts, body["files"]), "")


def _file_fault(path: Path, expected: Mapping[str, Any]) -> str:
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            return f"{path.name} has {size:,} bytes, {expected['bytes']:,} were saved"
        digest = sha256(path)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return "" if digest == expected["sha256"] else f"{path.name} is not what was saved"


def _sealed(body: Mapping[str, Any]) -> bytes:
    """The manifest as it is written, with the hash of all that stands before: no byte of it can change unseen."""
    plain = json.dumps(body, indent=1, ensure_ascii=True, allow_nan=False)
    return json.dumps({**body, "seal": hashlib.sha256(plain.encode()).hexdigest()}, indent=1, allow_nan=False).encode()


def _write_tensors(path: Path, tensors: Tensors) -> dict[str, Any]:
    """A safetensors file, hashed as it is written; its own writer, so that every byte goes through `disk`."""
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
    """One file of an earlier commit, hashed on the way: damage is not carried on."""
    expected, digest = source.files[name], hashlib.sha256()
    with new_file(target) as descriptor:
        for piece in _pieces(source.path / name):
            digest.update(piece)
            file_system.write(descriptor, piece)
    if digest.hexdigest() != expected["sha256"]:
        raise _mismatch("the file is not what was saved", source.path / name)
    return expected


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as handle:
        while piece := handle.read(_CHUNK):
            yield piece


def _cannot_save(error: OSError, target: Path) -> UserError:
    with contextlib.suppress(OSError):
        there = os.statvfs(target.parent)
        free = f"; {there.f_bavail * there.f_frsize / 1e6:,.0f} MB are free"
        what = f"cannot save the checkpoint: {error.strerror or error}{free}"
        fix = "make room, then the same command goes on from the last checkpoint"
        return UserError(what, where=str(target), fix=fix, code=ExitCode.DISK)
    return UserError(f"cannot save the checkpoint: {error.strerror or error}", where=str(target), code=ExitCode.DISK)


def _mismatch(what: str, path: Path) -> UserError:
    fix = "the same command again goes on from the checkpoint before"
    return UserError(what, where=str(path), fix=fix, code=ExitCode.MISMATCH)
