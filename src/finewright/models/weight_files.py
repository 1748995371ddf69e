"""The weight files of a model folder: which they are, what they hold, and what is wrong with them. No tensor is read for this."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_MOST_HEADER_BYTES = 100_000_000
"""The limit of the format."""
_LFS_POINTER = b"version https://git-lfs"
_AGAIN = "copy or download the model again"
_CLASS = re.compile(r"[A-Z]\w*")


def list_safetensors(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, by name. A pipe is none: who opens it waits for a writer."""
    return [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]


def find_fault(folder: Path) -> tuple[str, str] | None:
    """Return (what is wrong with the weights of a folder, how to fix it), or None."""
    if odd := sorted({*folder.glob("*.safetensors")} - {*list_safetensors(folder)}):
        return f"{odd[0].name} is not a regular file", _AGAIN
    if (folder / WEIGHTS).is_file():
        return _find_damage([folder / WEIGHTS])
    wanted = shard_names(folder)
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        return f"{len(missing)} of {len(wanted)} weight files are missing, for instance {missing[0]}", _AGAIN
    if wanted:
        return _find_damage([folder / name for name in wanted])
    if list_safetensors(folder):
        return None
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if pickles:
        what = f"{pickles[0]} is a pickle, which can run code when it is opened; it is not opened"
        return what, f"convert it to safetensors: `{_conversion_command(folder)}`, or take a model that is"
    return "the folder has no *.safetensors", "save the model there with save_pretrained"


def shard_names(folder: Path) -> list[str]:
    """Return the weight files that the folder's index names; none if there is no index or it cannot be read."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []


def stored_shapes(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Return the file and the shape of every stored tensor, by its name."""
    names = [WEIGHTS] if (folder / WEIGHTS).is_file() else shard_names(folder)
    files = [folder / name for name in names] or list_safetensors(folder)
    found = {}
    for file in files:
        try:
            header = _read_header(file)
        except (OSError, ValueError):
            continue
        found |= {name: (file, tuple(entry["shape"])) for name, entry in header.items()}
    return found


def _find_damage(files: list[Path]) -> tuple[str, str] | None:
    for file in files:
        try:
            _read_header(file)
        except OSError as error:
            return f"{file.name} cannot be read: {error.strerror}", "let this user read it"
        except ValueError as error:
            return f"{file.name} {error}", _AGAIN
    return None


def _read_header(file: Path) -> dict[str, Any]:
    """Return the entry of each tensor of a safetensors file. Raise `ValueError` with what it is, if it is not a whole one."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(64)
        if start.startswith(_LFS_POINTER):
            raise ValueError("is a Git LFS pointer, not the weights it stands for (`git lfs pull` fetches them)")
        if start.lstrip().startswith(b"<"):
            raise ValueError("is a web page, not weights")
        length = int.from_bytes(start[:8], "little")
        if size < 8 or not 2 <= length <= _MOST_HEADER_BYTES or start[8:9] != b"{":
            raise ValueError(f"is not in the safetensors format ({size:,} bytes)")
        opened.seek(8)
        content = opened.read(length)
    if len(content) < length:
        raise ValueError(f"is cut short: {size:,} bytes, not even its table of tensors is whole")
    try:
        header = json.loads(content)
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        valid = all(isinstance(entry["shape"], list) for entry in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ValueError("has a damaged table of tensors") from None
    if not valid or not isinstance(end, int):
        raise ValueError("has a damaged table of tensors")
    if size < end:
        raise ValueError(f"is cut short: {size:,} of {end:,} bytes")
    return header


def _conversion_command(folder: Path) -> str:
    """A command for the user, who decides about trusting the file: transformers reads such files as plain tensors only."""
    try:
        kind = str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        kind = "AutoModel"
    kind = kind if _CLASS.fullmatch(kind) else "AutoModel"
    code = f"import sys, transformers as t; t.{kind}.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])"
    return f'python -c "{code}" {shlex.quote(str(folder))}'
