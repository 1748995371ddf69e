"""Traces, cached on disk under the hash of all that they depend on."""

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

from finewright.core import assets
from finewright.core.cache import create, lookup, make_key
from finewright.models.prepared import PreparedModel
from finewright.planning.tracer.memory import Work

_KIND, _FILE = "traced", "traced.json"
_VERSIONED = ("torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class TraceResult:
    """A traced piece of work: bytes by part at its peak, its operations, and its tokens."""

    memory: dict[str, int]
    work: Work
    num_tokens: int


def cached_trace(prepared_model: PreparedModel, what: list[Any], make: Callable[[], TraceResult]) -> TraceResult:
    """Return `make()`, or its cached result. `what`: all that it depends on besides the network, JSON-ready."""
    key = make_key([_code(), _structure(prepared_model), json.dumps(what)])
    found = _read(key)
    if found is None:
        found = make()
        _write(key, found)
    return found


@cache
def _code() -> str:
    """Return a hash of the code and the versions that decide how a network is traced."""
    digest = hashlib.sha256()
    for path in sorted(assets.PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    versions = {}
    for name in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return digest.hexdigest() + json.dumps(versions)


def _structure(prepared_model: PreparedModel) -> str:
    """Return the network and how it runs: config, every module's settings, every tensor's shape, dtype and role."""
    config = {key: value for key, value in prepared_model.network.config.to_dict().items() if key != "_name_or_path"}
    blocks = prepared_model.network.get_submodule(prepared_model.architecture.layers)
    state = {
        "config": repr(config),
        "attention": prepared_model.network.config._attn_implementation,
        "modules": [_part(name, one) for name, one in prepared_model.trainable_module.named_modules()],
        "parameters": [
            _outline(name, one) for name, one in prepared_model.trainable_module.named_parameters(remove_duplicate=False)
        ],
        "buffers": [_outline(name, one) for name, one in prepared_model.trainable_module.named_buffers(remove_duplicate=False)],
        "before": None if prepared_model.prompt is None else _outline("before the text", prepared_model.prompt),
        "kept": [
            prepared_model.runtime.frozen_prefix is not None and bool(prepared_model.runtime.frozen_prefix.holds(block))
            for block in blocks
        ],
        "still": prepared_model.runtime.num_frozen_layers,
        "narrow": prepared_model.runtime.pooled_last_layer is not None,
        "checkpointed": prepared_model.runtime.gradient_checkpointing,
        "bfloat16": prepared_model.runtime.bfloat16,
        "anatomy": repr(prepared_model.architecture),
    }
    return json.dumps(state, default=str)


def _part(name: str, module: Any) -> tuple[Any, ...]:
    kind = type(module)
    return name, f"{kind.__module__}.{kind.__qualname__}", module.extra_repr(), getattr(module, "packed_bytes", 0)


def _outline(name: str, tensor: Any) -> tuple[Any, ...]:
    return name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad


def _read(key: str) -> TraceResult | None:
    """Return a cached result, or None. Remove a damaged one."""
    place = lookup(_KIND, key)
    if place is None:
        return None
    try:
        data = json.loads((place / _FILE).read_text(encoding="utf-8"))["traced"]
        work: dict[str, Any] = {**data["work"], "matmul_flops": Counter(data["work"]["matmul_flops"])}
        return TraceResult(data["memory"], Work(**work), data["num_tokens"])
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(place, ignore_errors=True)
        return None


def _write(key: str, made: TraceResult) -> None:
    work = vars(made.work) | {"matmul_flops": dict(made.work.matmul_flops)}
    data = {"memory": made.memory, "work": work, "num_tokens": made.num_tokens}
    with contextlib.suppress(OSError), create(_KIND, key) as place:
        (place / _FILE).write_text(json.dumps({"traced": data}), encoding="utf-8")
