"""Read a GGUF file: its metadata, its table of tensors, and one tensor at a time, dequantised."""

import math
import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finewright.core.errors import ExitCode, UserError

INSTALL = 'pip install "finewright[gguf]"'
_MAGIC, _VERSIONS, _ALIGNMENT = b"GGUF", (2, 3), 32
_PLAIN = {0: ("F32", 4), 1: ("F16", 2), 30: ("BF16", 2)}
"""Types that hold numbers as they are, and their bytes; all others are blocks of quantized ones, which need a package."""
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MOST_ENTRIES, _MOST_AXES = 1 << 16, 4
"""Most entries of metadata and most tensors, far beyond any model; most axes of a tensor in this format."""
_AGAIN = "copy or download the file again"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in the file. `shape`: slowest axis first, as in PyTorch; `start`: its first byte in the file."""

    shape: tuple[int, ...]
    kind: int
    start: int
    num_bytes: int


@dataclass(frozen=True)
class GgufFile:
    """What a file says about itself. `metadata`: numbers, strings and lists by their names; `tensors`: by their names."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]

    @property
    def architecture(self) -> str:
        """The name of the architecture, in the words of llama.cpp."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def kind(self) -> str:
        """The type that holds most of the numbers, such as Q8_0."""
        sizes: Counter[int] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.kind] += math.prod(tensor.shape)
        return _kind_name(sizes.most_common(1)[0][0])

    @property
    def is_quantized(self) -> bool:
        """Whether any tensor holds blocks instead of numbers."""
        return any(tensor.kind not in _PLAIN for tensor in self.tensors.values())

    def number(self, name: str, default: float | None = None) -> Any:
        """Return one number of the architecture's metadata. Raise `UserError` if it is no number, or absent without a default."""
        value = self.metadata.get(f"{self.architecture}.{name}", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            what = f"{self.architecture}.{name} is {str(value)[:60]}, wanted one number"
            raise refuse(self.path, what, fix="another GGUF file")
        return value


def is_gguf(path: Path) -> bool:
    """Whether a path is a file that is named or begins as a GGUF file."""
    if not path.is_file():
        return False
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as opened:
            return opened.read(4) == _MAGIC
    except OSError:
        return False


def refuse(path: Path, what: str, *, fix: str = _AGAIN) -> UserError:
    """Return the error of a file that cannot be used."""
    return UserError(what, where=str(path), fix=fix, code=ExitCode.MISMATCH)


def read_file(path: Path) -> GgufFile:
    """Read what a file says about itself, and check that it holds every tensor it names. No tensor is read.

    Raise `UserError` if it is no whole GGUF file, or if its tensors are of a type that cannot be read here.
    """
    try:
        with path.open("rb") as opened:
            start = opened.read(64)
            _check_start(path, start)
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _parse(path, _Cursor(content))
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror or error}", fix="let this user read it") from None
    except (struct.error, IndexError, EOFError):
        what = f"is cut short or damaged: {path.stat().st_size:,} bytes, its table of tensors is not whole"
        raise refuse(path, what) from None
    except UnicodeDecodeError:
        raise refuse(path, "is damaged: a name in it is not UTF-8") from None


def read_tensor(file: GgufFile, name: str) -> np.ndarray:
    """Return one tensor: float16 as it is stored, bfloat16 as its 16 bits in uint16, everything else in float32."""
    tensor = file.tensors[name]
    raw = np.fromfile(file.path, dtype=np.uint8, count=tensor.num_bytes, offset=tensor.start)
    if raw.size < tensor.num_bytes:
        raise refuse(file.path, f"was cut short while it was read: {name} is not whole")
    if tensor.kind in _PLAIN:
        return raw.view({"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[_PLAIN[tensor.kind][0]]).reshape(tensor.shape)
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        numbers = dequantize(raw.reshape(*tensor.shape[:-1], -1), GGMLQuantizationType(tensor.kind))
    except NotImplementedError:
        kind = _kind_name(tensor.kind)
        what = f"{name} is of the type {kind}, which the installed package gguf cannot dequantise"
        raise refuse(file.path, what, fix=f"a file in Q8_0 or F16, or a newer gguf: {INSTALL} --upgrade") from None
    return np.ascontiguousarray(numbers, dtype=np.float32).reshape(tensor.shape)


class _Cursor:
    """Reads numbers and strings one after the other. Raises `EOFError` beyond the end."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.place = content, 4

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.content, self.place)
        self.place += struct.calcsize(form)
        return value

    def count(self, bytes_each: int) -> int:
        """Read how many things follow. Raise `EOFError` if the rest of the file is too short for them."""
        found = self.number("<Q")
        if found * bytes_each > len(self.content) - self.place:
            raise EOFError
        return found

    def text(self) -> str:
        length = self.count(1)
        self.place += length
        return self.content[self.place - length : self.place].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _ARRAY:
            raise EOFError
        inner = self.number("<I")
        if inner == _STRING:
            return [self.text() for _ in range(self.count(8))]
        if inner not in _NUMBERS:
            raise EOFError
        form = _NUMBERS[inner][1]
        length = self.count(struct.calcsize(f"<{form}"))
        values = struct.unpack_from(f"<{length}{form}", self.content, self.place)
        self.place += struct.calcsize(f"<{length}{form}")
        return list(values)


def _check_start(path: Path, start: bytes) -> None:
    if start.startswith(b"version https://git-lfs"):
        raise refuse(path, "is a Git LFS pointer, not the weights it stands for", fix="`git lfs pull` fetches them")
    if start[:4] != _MAGIC:
        what = "is a web page, not a model" if start.lstrip().startswith(b"<") else "is not in the GGUF format"
        raise refuse(path, what, fix="give a .gguf file, or the folder that holds config.json")
    if len(start) < 24:
        raise EOFError
    version = int.from_bytes(start[4:8], "little")
    if version not in _VERSIONS:
        big = int.from_bytes(start[4:8], "big") in _VERSIONS
        what = "is a GGUF file for machines with the other byte order" if big else f"is GGUF version {version}, wanted 2 or 3"
        raise refuse(path, what, fix="another GGUF file of the model")


def _parse(path: Path, cursor: _Cursor) -> GgufFile:
    cursor.number("<I")
    num_tensors, num_entries = cursor.number("<Q"), cursor.number("<Q")
    if num_tensors > _MOST_ENTRIES or num_entries > _MOST_ENTRIES:
        raise EOFError
    metadata = {}
    for _ in range(num_entries):
        name = cursor.text()
        metadata[name] = cursor.value(cursor.number("<I"))
    if metadata.get("split.count", 0) not in (0, 1):
        what = f"is one of {str(metadata['split.count'])[:20]} parts of a model"
        raise refuse(path, what, fix="merge the parts with llama.cpp's `llama-gguf-split --merge`")
    entries = [_parse_entry(cursor) for _ in range(num_tensors)]
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise EOFError
    begin = -(-cursor.place // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in entries:
        tensors[name] = StoredTensor(shape, kind, begin + offset, _num_bytes(path, name, shape, kind))
    _check_whole(path, tensors, size=len(cursor.content))
    return GgufFile(path, metadata, tensors)


def _parse_entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.text()
    num_axes = cursor.number("<I")
    if not 0 < num_axes <= _MOST_AXES:
        raise EOFError
    shape = tuple(cursor.number("<Q") for _ in range(num_axes))
    return name, shape[::-1], cursor.number("<I"), cursor.number("<Q")


def _num_bytes(path: Path, name: str, shape: tuple[int, ...], kind: int) -> int:
    if kind in _PLAIN:
        return math.prod(shape) * _PLAIN[kind][1]
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError:
        what = "holds quantized weights, which the package gguf reads; it is not installed here"
        raise UserError(what, where=str(path), fix=INSTALL) from None
    try:
        per_block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        raise refuse(path, f"{name} is of an unknown type ({kind})", fix=f"a newer gguf: {INSTALL} --upgrade") from None
    if shape[-1] % per_block:
        raise refuse(path, f"is damaged: {name} has rows of {shape[-1]:,}, not whole blocks of {per_block}")
    return math.prod(shape) // per_block * block_bytes


def _check_whole(path: Path, tensors: dict[str, StoredTensor], *, size: int) -> None:
    if not tensors:
        raise refuse(path, "holds no tensors, perhaps only a vocabulary", fix="a GGUF file with the weights")
    end = max(tensor.start + tensor.num_bytes for tensor in tensors.values())
    if size < end:
        raise refuse(path, f"is cut short: {size:,} of {end:,} bytes")


def _kind_name(kind: int) -> str:
    if kind in _PLAIN:
        return _PLAIN[kind][0]
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType(kind).name
