"""Convert a GGUF file once into an ordinary model folder of the cache, which everything after it reads."""

import errno
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finewright.core import cache, units
from finewright.core.errors import UserError, first_line
from finewright.models import stored_copy
from finewright.models.gguf import families, tokenizer
from finewright.models.gguf.reader import GgufFile, read_file, read_tensor, refuse

_VERSION = "1"
"""Another one when the same file gives another folder."""
_KIND = "KIND"
"""File with what the weights were in the GGUF file, for the user."""
_END_BYTES = 1 << 20
_SHARD_BYTES = 2 << 30
_found: dict[Path, list[tuple[str, int, int]]] = {}
"""Folders that this process has checked, with the state of their files then: an entry's files are hashed once a process."""


@dataclass(frozen=True)
class Converted:
    """A model folder made of a file, and one line for the user about it."""

    folder: Path
    note: str


def convert(path: Path, *, weights: bool = True) -> Converted:
    """Return the model folder of a GGUF file; make it if the cache has none. `weights=False`: only config and tokenizer.

    Raise `UserError` if the file cannot be used, or if the disk has no room.
    """
    key = _make_key(path)
    if (folder := _lookup(f"{key}-model")) is not None:
        return _as_converted(folder)
    file = read_file(path)
    name = f"{key}-{'model' if weights else 'config'}"
    folder = _lookup(name)
    if folder is None:
        with cache.entry_lock(cache.MODELS, name):
            folder = _lookup(name) or _create(file, name, weights=weights)
    return _as_converted(folder, file=None if weights else file)


def _make_key(path: Path) -> str:
    """Return what tells one file from another without reading all of it: its size, its time, its first and its last bytes."""
    try:
        state = path.stat()
        with path.open("rb") as opened:
            first = opened.read(_END_BYTES)
            opened.seek(max(0, state.st_size - _END_BYTES))
            return cache.make_key([_VERSION, str(state.st_size), str(state.st_mtime_ns), first, opened.read()])
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror or error}", fix="let this user read it") from None


def _lookup(name: str) -> Path | None:
    place = cache.cache_folder() / cache.MODELS / name
    if place in _found and _state(place) == _found[place]:
        return place
    folder = cache.lookup(cache.MODELS, name)
    if folder is not None:
        _found[place] = _state(place)
    return folder


def _state(folder: Path) -> list[tuple[str, int, int]]:
    try:
        return [(one.name, (state := one.stat()).st_size, state.st_mtime_ns) for one in sorted(folder.iterdir())]
    except OSError:
        return []


def _create(file: GgufFile, name: str, *, weights: bool) -> Path:
    try:
        config, names = families.read_config(file), families.tensor_names(file)
        if weights:
            num_bytes = sum(_stored_bytes(file, one) for one in names)
            stored_copy.check_room(num_bytes, what="its converted copy takes", where=file.path)
        with cache.create(cache.MODELS, name) as place:
            (place / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            (place / _KIND).write_text(_describe_kind(file), encoding="utf-8")
            tokenizer.save_tokenizer(file, place)
            if weights:
                _write_weights(file, names, config, place)
    except UserError:
        raise
    except OSError as error:
        raise _storage_error(file, error) from None
    except Exception as error:  # a wrong value in the file can raise anything
        if "(os error " in str(error):  # the libraries that write weights and tokenizers have types of their own for it
            raise _storage_error(file, OSError(str(error))) from None
        reason = first_line(error)
        raise refuse(file.path, f"holds values that do not fit together: {reason}") from error
    return stored_copy.require_kept(_lookup(name), what="the converted model", where=file.path)


def _storage_error(file: GgufFile, error: OSError) -> UserError:
    if error.errno == errno.EIO:
        return refuse(file.path, f"cannot be read: {error.strerror or error}")
    return stored_copy.storage_error(error, what="the converted model", where=file.path)


def _describe_kind(file: GgufFile) -> str:
    return f"{file.kind} GGUF{', dequantised to float32' if file.is_quantized else ''}"


def _as_converted(folder: Path, *, file: GgufFile | None = None) -> Converted:
    """Return a folder with the line about it. `file`: where the size is known from, if the folder has no weights yet."""
    sizes = (
        [_stored_bytes(file, one) for one in file.tensors]
        if file
        else [one.stat().st_size for one in folder.glob("*.safetensors")]
    )
    kind, place = (folder / _KIND).read_text(encoding="utf-8"), cache.cache_folder() / cache.MODELS
    return Converted(folder, f"weights: {kind}; the converted copy takes {units.format_bytes(sum(sizes))} in {place}")


def _stored_bytes(file: GgufFile, name: str) -> int:
    """Return the size of a tensor in the folder: numbers in 16 bits stay so, everything else is float32."""
    tensor = file.tensors[name]
    numbers = math.prod(tensor.shape)
    return tensor.num_bytes if tensor.num_bytes == 2 * numbers else 4 * numbers


def _write_weights(file: GgufFile, names: dict[str, str], config: dict[str, Any], place: Path) -> None:
    """Write the tensors into one file, or into several with an index: one of them is in memory at a time."""
    from safetensors.torch import save_file

    shards = list(_divide(file, names))
    held: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        title = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {names[one]: _as_torch(families.restore(file, one, read_tensor(file, one), config)) for one in shard}
        save_file(tensors, place / title, metadata={"format": "pt"})
        held |= dict.fromkeys(tensors, title)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(_stored_bytes(file, one) for one in names)}, "weight_map": held}
        (place / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _divide(file: GgufFile, names: dict[str, str]) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for name in names:
        if shard and size + _stored_bytes(file, name) > _SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += _stored_bytes(file, name)
    yield shard


def _as_torch(numbers: Any) -> Any:
    import torch

    if numbers.dtype == "uint16":
        return torch.from_numpy(numbers.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(numbers)
