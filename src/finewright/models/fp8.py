"""Turn a checkpoint with weights in eight-bit floating point (FP8) once into an ordinary model folder of the cache.

A matrix is stored as numbers in E4M3 (Micikevicius et al. 2022, arXiv:2209.05433) with scales: `weight_scale_inv` for blocks of
it, as DeepSeek-V3 and Qwen3 have them, or `weight_scale` for the whole matrix or each of its rows (compressed-tensors). The
product of both is what the model computes with.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from finewright.core import cache, files, units
from finewright.core.errors import ExitCode, UserError
from finewright.models import stored_copy

KINDS = ("fp8", "compressed-tensors")
"""Names of `quant_method` in a config that FP8 weights have."""
_VERSION = "1"
"""Another one when the same folder gives another copy."""
_SCALES = ("weight_scale_inv", "weight_scale")
_DROPPED = ("input_scale", "activation_scale", "k_scale", "v_scale")
"""Scales of activations and caches, which nothing is multiplied by once the weights are plain numbers."""
_OTHER = "take the model it was made from, in float32, float16 or bfloat16"


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Return what the config of a folder says of FP8 weights; None if they are stored in another format."""
    path = folder / "config.json"
    if not path.is_file():  # a link to a device would be read for ever
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("quant_method") not in KINDS:
        return None
    is_float = found["quant_method"] == "fp8" or found.get("format") == "float-quantized"
    return found if is_float else None


def convert(folder: Path, *, weights: bool = True) -> tuple[Path, str]:
    """Return a folder with plain weights in bfloat16, made if the cache has none, and a line for the user.

    `weights=False`: only config and tokenizer. Raise `UserError` if a matrix has no scales, or the disk has no room.
    """
    name = f"{_make_key(folder)}-{'fp8' if weights else 'config'}"
    found = cache.lookup(cache.MODELS, name)
    if found is None:
        with cache.entry_lock(cache.MODELS, name):
            found = cache.lookup(cache.MODELS, name) or _create(folder, name, weights=weights)
    if not weights:
        return found, ""
    size = units.format_bytes(sum(one.stat().st_size for one in found.glob("*.safetensors")))
    return found, f"weights: stored in float8, dequantised to bfloat16; the copy takes {size} in {cache.cache_folder()}"


def _make_key(folder: Path) -> str:
    """Return what tells one folder from another: its small files, and the size and the time of the others."""
    parts = [_VERSION]
    for path in sorted(folder.iterdir()):
        if path.is_file():
            state = path.stat()
            large = path.suffix == ".safetensors"
            parts += [path.name, f"{state.st_size} {state.st_mtime_ns}" if large else files.sha256(path)]
    return cache.make_key(parts)


def _create(folder: Path, name: str, *, weights: bool) -> Path:
    stored = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if weights:
        num_bytes = 2 * sum(path.stat().st_size for path in stored)
        stored_copy.check_room(num_bytes, what="a copy with plain weights takes up to", where=folder)
    try:
        with cache.create(cache.MODELS, name) as place:
            for path in folder.iterdir():
                if path.is_file() and path.suffix in (".json", ".txt", ".model", ".jinja") and "index.json" not in path.name:
                    shutil.copyfile(path, place / path.name)
            written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            del written["quantization_config"]
            (place / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
            if weights:
                _write_weights(folder, stored, place)
    except OSError as error:
        if not stored_copy.is_storage_error(error):
            raise
        raise stored_copy.storage_error(error, what="the plain weights", where=folder) from None
    return stored_copy.require_kept(cache.lookup(cache.MODELS, name), what="the plain weights", where=folder)


def _write_weights(folder: Path, stored: list[Path], place: Path) -> None:
    """Write every file with plain weights under its own name; the scales of a matrix may lie in another file."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    settings = read_settings(folder) or {}
    where: dict[str, Path] = {}
    for path in stored:
        with safe_open(path, framework="pt") as opened:
            where |= dict.fromkeys(opened.keys(), path)

    def read(name: str) -> Any:
        with safe_open(where[name], framework="pt") as opened:
            return opened.get_tensor(name)

    index: dict[str, str] = {}
    for path in stored:
        tensors = {}
        for name in (name for name, file in where.items() if file == path):
            if name.endswith((*(f".{one}" for one in _SCALES), *(f".{one}" for one in _DROPPED))):
                continue
            tensor = read(name)
            if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
                scale = next(
                    (f"{name.removesuffix('weight')}{one}" for one in _SCALES if f"{name.removesuffix('weight')}{one}" in where),
                    "",
                )
                if not scale:
                    what = f"the matrix {name} is stored in float8 without its scales"
                    raise UserError(what, where=str(path), fix=_OTHER, code=ExitCode.MISMATCH)
                tensor = dequantise(tensor, read(scale), block=settings.get("weight_block_size"))
            tensors[name] = tensor.contiguous()
        if tensors:
            save_file(tensors, place / path.name, metadata={"format": "pt"})
            index |= dict.fromkeys(tensors, path.name)
    if len({*index.values()}) > 1:
        total = sum(one.stat().st_size for one in place.glob("*.safetensors"))
        written = {"metadata": {"total_size": total}, "weight_map": index}
        (place / "model.safetensors.index.json").write_text(json.dumps(written), encoding="utf-8")


def dequantise(matrix_OI: Any, scale: Any, *, block: Any = None) -> Any:
    """Return a matrix in bfloat16. `scale`: one number, one for each row, or one for each block of `block` (rows, columns)."""
    import torch

    wide_OI, scale = matrix_OI.to(torch.float32), scale.to(torch.float32)
    if scale.ndim == 2 and scale.shape[1] > 1 or (block and scale.ndim == 2):
        rows, columns = block or (-(-wide_OI.shape[0] // scale.shape[0]), -(-wide_OI.shape[1] // scale.shape[1]))
        scale = scale.repeat_interleave(rows, dim=0)[: wide_OI.shape[0]]
        scale = scale.repeat_interleave(columns, dim=1)[:, : wide_OI.shape[1]]
    elif scale.ndim == 1 and scale.numel() > 1:
        scale = scale[:, None]
    return (wide_OI * scale).to(torch.bfloat16)
