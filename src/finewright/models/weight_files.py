"""The weight files of a model folder: which they are, what they hold, and what is wrong with them. No tensor is read for this."""

import json
import math
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_MOST_HEADER_BYTES = 100_000_000
"""The limit of the format."""
_LFS_POINTER = b"version https://git-lfs"
_AGAIN = "copy or download the model again"
_PLAIN_MODEL = "take the model it was made from, in float32, float16 or bfloat16; `--method qlora` quantizes that to four bits"
_NUMBERS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_CLASS = re.compile(r"[A-Z]\w*")


def list_safetensors(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, by name. A pipe is none: who opens it waits for a writer."""
    return [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]


def find_fault(folder: Path) -> tuple[str, str] | None:
    """Return (what is wrong with the weights of a folder, how to fix it), or None."""
    return find_broken(folder) or _find_quantized(folder)


def find_quantization(folder: Path) -> tuple[str, str] | None:
    """Return a fault if the config says that the weights are quantized, which needs no weights; else None."""
    try:
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = written.get("quantization_config")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    if not found:
        return None
    kind = found.get("quant_method") if isinstance(found, dict) else None
    return f"the checkpoint's weights are quantized ({str(kind or 'in a way it does not name')[:40]})", _PLAIN_MODEL


def describe_numbers(folder: Path) -> str:
    """Return one line about the type that most weights are stored in; empty for float32, as they are loaded in it."""
    sizes: Counter[str] = Counter()
    for file in _weight_files(folder):
        for entry in _read_header(file).values():
            sizes[str(entry.get("dtype"))] += math.prod(entry["shape"])
    kind = sizes.most_common(1)[0][0] if sizes else "F32"
    return "" if kind == "F32" else f"weights: stored in {_NUMBERS.get(kind, kind)}, loaded in float32"


def _find_quantized(folder: Path) -> tuple[str, str] | None:
    """Return a fault if tensors hold quantized weights: read as plain numbers, without their scales, they would be wrong.

    Whole numbers under another name are masks and positions, which some checkpoints store.
    """
    for file in _weight_files(folder):
        kinds = {name: str(entry.get("dtype")) for name, entry in _read_header(file).items()}
        odd = sorted(
            name for name, kind in kinds.items() if kind not in _NUMBERS and (kind.startswith("F") or name.endswith("weight"))
        )
        if odd:
            what = (
                f"{file.name} holds weights in {kinds[odd[0]]}, for instance {odd[0]}, which are quantized and need their scales"
            )
            return what, _PLAIN_MODEL
    return None


def _weight_files(folder: Path) -> list[Path]:
    names = [WEIGHTS] if (folder / WEIGHTS).is_file() else shard_names(folder)
    return [folder / name for name in names] or list_safetensors(folder)


def find_broken(folder: Path) -> tuple[str, str] | None:
    """Return a fault if a weight file is missing, damaged or a pickle, whatever numbers it holds; else None."""
    if odd := sorted({*folder.glob("*.safetensors")} - {*list_safetensors(folder)}):
        return f"{odd[0].name} is not a regular file", _AGAIN
    if (folder / WEIGHTS).is_file():
        return _find_damage([folder / WEIGHTS])
    wanted = shard_names(folder)
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        return f"{len(missing)} of {len(wanted)} weight files are missing, for instance {missing[0]}", _AGAIN
    if wanted:
        return _find_damage([folder / name for name in wanted])
    if stray := list_safetensors(folder):
        return _find_damage(stray)
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if pickles:
        what = f"{pickles[0]} is a pickle, which can run code when it is opened; it is not opened"
        return what, f"convert it to safetensors: `{_conversion_command(folder)}`, or take a model that is"
    return "the folder has no *.safetensors", "save the model there with save_pretrained"


def shard_names(folder: Path) -> list[str]:
    """Return the weight files that the folder's index names; none if there is no index or it cannot be read."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return sorted({Path(name).name for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []


def stored_shapes(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Return the file and the shape of every stored tensor, by its name."""
    found = {}
    for file in _weight_files(folder):
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
        valid = all(math.prod(entry["shape"], start=1) >= 0 for entry in header.values())
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
