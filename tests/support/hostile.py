"""Hostile model folders: pickles that run code, code to import, bombs, paths that lead elsewhere."""

import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MARK = "PWNED"
Spoil = Callable[[Path], Any]


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({MARK!r}, 'w').close()",)


def _pickles() -> dict[str, bytes]:
    raw = pickle.dumps({"weight": _Payload()})
    packed, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", raw)
        archive.writestr("archive/version", "3\n")
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(raw)
        archive.addfile(entry, io.BytesIO(raw))
    return {"plain": raw, "zip": packed.getvalue(), "tar": tarred.getvalue()}


PICKLES = _pickles()
_EVIL = f"open({MARK!r}, 'w').close()\nclass Evil: pass\n"


def edit(name: str, **changes: Any) -> Spoil:
    """Set keys of a JSON file."""

    def spoil(folder: Path) -> None:
        path = folder / name
        found = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**found, **changes}))

    return spoil


def _write(name: str, content: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content)


def _instead(name: str, make: Callable[[Path], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def _with_code(spoil: Spoil) -> Spoil:
    def both(folder: Path) -> None:
        for name in ("modeling_evil.py", "tokenization_evil.py", "configuration_evil.py", "evil.py", "__init__.py"):
            (folder / name).write_text(_EVIL)
        spoil(folder)

    return both


def _without_weights(name: str, content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        for path in folder.glob("*.safetensors"):
            path.unlink()
        (folder / name).write_bytes(content)

    return spoil


def _header(weights: str, change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Another header before the same bytes."""

    def spoil(folder: Path) -> None:
        content = (folder / weights).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        text = change(header)
        text = (text if isinstance(text, str) else json.dumps(header)).encode()
        (folder / weights).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return spoil


def _bytes(weights: str, change: Callable[[bytes], bytes]) -> Spoil:
    return lambda folder: (folder / weights).write_bytes(change((folder / weights).read_bytes()))


def _first(header: dict[str, Any]) -> dict[str, Any]:
    return next(entry for name, entry in header.items() if name != "__metadata__")


def broken_weights(weights: str) -> Iterator[tuple[str, Spoil]]:
    """Ways to break a safetensors file."""
    lengths = {"of 2^63": 1 << 63, "of 100 MB": 100_000_000, "of nothing": 0, "of 2^64 - 1": (1 << 64) - 1}
    for what, length in lengths.items():
        yield f"a header {what}", _bytes(weights, lambda old, length=length: struct.pack("<Q", length) + old[8:])
    yield "a header that is a list", _header(weights, lambda header: "[]")
    yield "a header that is no JSON", _header(weights, lambda header: "{" * 40)
    yield "a header of 100,000 brackets", _header(weights, lambda header: '{"a":' * 100_000)
    yield "a tensor over another", _header(weights, lambda header: _first(header).update(data_offsets=[0, 4]))
    yield "an unknown type", _header(weights, lambda header: _first(header).update(dtype="PICKLE"))
    yield "a shape that overflows", _header(weights, lambda header: _first(header).update(shape=[1 << 40, 1 << 40]))
    yield "a shape below zero", _header(weights, lambda header: _first(header).update(shape=[-1]))
    yield "an end before its start", _header(weights, lambda header: _first(header).update(data_offsets=[40, 0]))
    yield "an end beyond the file", _header(weights, lambda header: _first(header).update(data_offsets=[0, 1 << 50]))
    yield "a name twice", _header(weights, lambda header: json.dumps(header)[:-1] + ", " + json.dumps(header)[1:])
    yield "bytes at the end", _bytes(weights, lambda old: old + b"\0" * 64)
    for at in (0, 1, 7, 8, 9, 64, 511):
        yield f"cut off after {at} bytes", _bytes(weights, lambda old, at=at: old[:at])
    dice = random.Random(0)
    for number in range(8):
        at, bit = dice.randrange(8, 400), 1 << dice.randrange(8)
        yield (
            f"a bit of its header flipped ({number})",
            _bytes(weights, lambda old, at=at, bit=bit: old[:at] + bytes([old[at] ^ bit]) + old[at + 1 :]),
        )


def models() -> Iterator[tuple[str, Spoil]]:
    """(what is wrong, how to bring it into a good model folder)."""
    for name in ("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"):
        for form, content in PICKLES.items():
            yield f"{name} alone, a pickle ({form})", _without_weights(name, content)
    yield "a pickle by the name of safetensors", _write("model.safetensors", PICKLES["zip"])
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt", "pytorch_model.bin", "adapter_model.bin"):
        yield f"{name} beside the weights", _write(name, PICKLES["zip"])
    yield from broken_weights("model.safetensors")
    for what, target in {"upwards": "../secret.safetensors", "absolute": "/etc/passwd", "a device": "/dev/zero"}.items():
        index = json.dumps({"metadata": {}, "weight_map": {"wte.weight": target}}).encode()
        yield f"an index that leads {what}", _without_weights("model.safetensors.index.json", index)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        yield f"{name} is a pipe", _instead(name, os.mkfifo)
        yield f"{name} is a folder", _instead(name, Path.mkdir)
        yield f"{name} is a link to a device", _instead(name, lambda path: path.symlink_to("/dev/zero"))
    own = {"AutoConfig": "configuration_evil.Evil", "AutoModelForSequenceClassification": "modeling_evil.Evil"}
    yield "code named by the config", _with_code(edit("config.json", auto_map=own))
    yield "code named by a config of an unknown kind", _with_code(edit("config.json", auto_map=own, model_type="evil"))
    elsewhere = {key: f"evil/evil--{value}" for key, value in own.items()}
    yield "code of another repository", edit("config.json", auto_map=elsewhere, model_type="evil")
    yield "a config that trusts itself", _with_code(edit("config.json", auto_map=own, trust_remote_code=True, model_type="evil"))
    tokenizer = {"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]}
    yield (
        "code named by the tokenizer",
        _with_code(edit("tokenizer_config.json", auto_map=tokenizer, tokenizer_class="Evil", trust_remote_code=True)),
    )
    yield (
        "kernels from elsewhere",
        edit("config.json", _attn_implementation="evil/kernels:run", attn_implementation="evil/kernels"),
    )
    yield (
        "weights packed by a strange library",
        edit("config.json", quantization_config={"quant_method": "evil", "load": "evil.py"}),
    )
    yield "a template that asks for more", _write("chat_template.jinja", b"{{ ''.__class__.__mro__[1].__subclasses__() }}")
    yield from configs()
    for value in (float("nan"), "32", [32], None, {}, True):
        yield f"a config with n_embd {value!r}", edit("config.json", n_embd=value)
    yield "a config of 100,000 brackets", _write("config.json", b"[" * 100_000)
    yield "a config that is a list", _write("config.json", b"[]")
    yield "a config that is no JSON", _write("config.json", b"\xff\xfe\0")
    yield from _tokenizers()


def configs() -> Iterator[tuple[str, Spoil]]:
    """Configs of a few bytes that claim more than any model has."""
    bombs = {"n_embd": 1 << 40, "n_layer": 10**9, "n_head": -1, "vocab_size": 1 << 50, "n_positions": 1 << 50, "n_inner": -5}
    for name, value in bombs.items():
        yield f"a config with {name} {value}", edit("config.json", **{name: value})
    yield "a config that lists a billion layers as it is read", edit("config.json", model_type="qwen2", num_hidden_layers=10**9)
    yield "a config with 10^11 words and the weights of a few", edit("config.json", vocab_size=10**11)


def _tokenizers() -> Iterator[tuple[str, Spoil]]:
    nested: Any = {"type": "Lowercase"}
    for _ in range(200):
        nested = {"type": "Sequence", "normalizers": [nested]}
    bomb = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    many = [{"id": 400 + i, "content": f"<{i}>", "special": True, **_PLAIN} for i in range(20_000)]
    changes: dict[str, dict[str, Any]] = {
        "nothing known": {"model": {"type": "Evil"}},
        "a pre-tokenizer of an unknown kind": {"pre_tokenizer": {"type": "Evil"}},
        "200 normalizers in one another": {"normalizer": nested},
        "a pattern that never ends": {"pre_tokenizer": bomb},
        "a pattern that is none": {"pre_tokenizer": {**bomb, "pattern": {"Regex": "("}}},
        "20,000 tokens of its own": {"added_tokens": many},
        "an id far outside": {"added_tokens": [{"id": (1 << 32) - 2, "content": "x", "special": True, **_PLAIN}]},
        "an empty vocabulary": {"model": {"type": "BPE", "vocab": {}, "merges": []}},
        "merges of what is not there": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["q", "z"]]}},
        "a post-processor that points nowhere": {
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "no", "type_id": 0}}], "pair": []}
        },
        "a truncation below zero": {"truncation": {"direction": "Right", "max_length": -1, "strategy": "OnlyFirst", "stride": 0}},
        "a stride beyond its length": {
            "truncation": {"direction": "Right", "max_length": 2, "strategy": "OnlyFirst", "stride": 9}
        },
    }
    for what, change in changes.items():
        yield f"a tokenizer with {what}", edit("tokenizer.json", **change)
    yield "a tokenizer that is no JSON", _write("tokenizer.json", b"\0\1\2")
    yield "a tokenizer of 100,000 brackets", _write("tokenizer.json", b"[" * 100_000)


_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def adapters() -> Iterator[tuple[str, Spoil]]:
    """The same for the folder of an adapter that a run saved."""
    yield "adapter_model.bin alone, a pickle", _without_weights("adapter_model.bin", PICKLES["zip"])
    yield "a pickle by the name of safetensors", _write("adapter_model.safetensors", PICKLES["plain"])
    yield "an adapter of an unknown kind", edit("adapter_config.json", peft_type="EVIL")
    own = {"base_model_class": "Evil", "parent_library": "evil"}
    yield "code named by the adapter", _with_code(edit("adapter_config.json", auto_mapping=own))
    for base in ("../../secret", "/dev/zero", "evil/evil", ""):
        yield f"a base that is {base!r}", edit("adapter_config.json", base_model_name_or_path=base)
    yield "a rank of 2^40", edit("adapter_config.json", r=1 << 40)
    yield "a target that never ends", edit("adapter_config.json", target_modules="(.*.*)*x")
    yield "a config of 100,000 brackets", _write("adapter_config.json", b"[" * 100_000)
    yield from broken_weights("adapter_model.safetensors")
