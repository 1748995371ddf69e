"""What was traced before is not traced again: it is kept on disk under the hash of all that it depends on."""

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from finewright import assets, store, trace
from finewright.tuned import Tuned

_KIND, _FILE = "traced", "traced.json"
_VERSIONED = ("torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class Traced:
    """One piece of work: bytes by part at its peak, what is done, and for how many tokens."""

    memory: dict[str, int]
    work: trace.Work
    num_tokens: int


def once(tuned: Tuned, what: list[Any], make: Callable[[], Traced]) -> Traced:
    """`make()`, or what it came to the last time. `what`: all that it depends on besides the network, JSON-ready."""
    key = store.key([_code(), _structure(tuned), json.dumps(what)])
    found = _read(key)
    if found is None:
        found = make()
        _write(key, found)
    return found


@cache
def _code() -> str:
    """Everything that decides how a network is traced besides itself."""
    digest = hashlib.sha256()
    for path in sorted(assets.PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    versions = {}
    for name in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return digest.hexdigest() + json.dumps(versions)


def _structure(tuned: Tuned) -> str:
    """The network and how it is run: config, every module with its settings, every tensor's shape, dtype and role."""
    config = {key: value for key, value in tuned.network.config.to_dict().items() if key != "_name_or_path"}
    blocks = tuned.network.get_submodule(tuned.anatomy.blocks)
    state = {
        "config": repr(config),
        "attention": tuned.network.config._attn_implementation,
        "modules": [_part(name, one) for name, one in tuned.owner.named_modules()],
        "parameters": [_outline(name, one) for name, one in tuned.owner.named_parameters(remove_duplicate=False)],
        "buffers": [_outline(name, one) for name, one in tuned.owner.named_buffers(remove_duplicate=False)],
        "before": None if tuned.prompt is None else _outline("before the text", tuned.prompt),
        "kept": [tuned.trunk is not None and bool(tuned.trunk.holds(block)) for block in blocks],
        "still": tuned.still_blocks,
        "narrow": tuned.last_block is not None,
        "checkpointed": tuned.checkpointed,
        "bfloat16": tuned.bfloat16,
        "anatomy": repr(tuned.anatomy),
    }
    return json.dumps(state, default=str)


def _part(name: str, module: Any) -> tuple[Any, ...]:
    kind = type(module)
    return name, f"{kind.__module__}.{kind.__qualname__}", module.extra_repr(), getattr(module, "packed_bytes", 0)


def _outline(name: str, tensor: Any) -> tuple[Any, ...]:
    return name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad


def _read(key: str) -> Traced | None:
    """None where there is nothing, or nothing whole: that goes away."""
    place = store.find(_KIND, key)
    if place is None:
        return None
    try:
        told = json.loads((place / _FILE).read_text(encoding="utf-8"))["traced"]
        work: dict[str, Any] = {**told["work"], "matmul_flops": Counter(told["work"]["matmul_flops"])}
        return Traced(told["memory"], trace.Work(**work), told["num_tokens"])
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(place, ignore_errors=True)
        return None


def _write(key: str, made: Traced) -> None:
    work = vars(made.work) | {"matmul_flops": dict(made.work.matmul_flops)}
    told = {"memory": made.memory, "work": work, "num_tokens": made.num_tokens}
    with contextlib.suppress(OSError), store.making(_KIND, key) as place:
        (place / _FILE).write_text(json.dumps({"traced": told}), encoding="utf-8")
