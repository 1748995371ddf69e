"""Merge the adapter of a finished run into its base once: an ordinary model folder in the cache, to train on from there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finewright.core import cache, files, units
from finewright.core.errors import ExitCode, UserError, first_line, is_out_of_memory
from finewright.core.quiet import peft_quiet, quiet_libraries
from finewright.core.units import counted
from finewright.models import stored_copy
from finewright.models.head_spec import LANGUAGE_MODEL

ADAPTER_CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_VERSION = "1"
"""Another one when the same adapter gives another folder."""
_QUANTIZATION = "quantization.json"
_CONFIG_FOLDER, _OWN_FILES = "base_config", (WEIGHTS, ADAPTER_CONFIG, "base.json", _QUANTIZATION)
_TOKENIZERS = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template*", "*.model")


def is_language_model(adapter: Path) -> bool:
    """Whether an adapter is one of a language model; one that cannot be read is none."""
    return _read_config(adapter).get("task_type") == "CAUSAL_LM"


def find_fault(adapter: Path) -> str:
    """Return why a language model's adapter cannot be merged to be trained on; empty if it can."""
    method = _read_config(adapter).get("peft_type")
    if method == "LORA":
        return ""
    return (
        "it is a prompt, which is no part of the weights" if "PROMPT" in str(method) else f"its adapter is of the kind {method}"
    )


def _read_config(adapter: Path) -> dict[str, Any]:
    try:
        found = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def merge(adapter: Path, base: Path, *, weights: bool = True) -> tuple[Path, str]:
    """Return the folder of the merged model, made if the cache has none, and a line for the user.

    A base in four bits is merged with the values that the adapter was trained on. `weights=False`: only config and tokenizer.
    Raise `UserError` if the adapter does not fit the base, or the disk has no room.
    """
    name = f"{_make_key(adapter)}-{'merged' if weights else 'config'}"
    folder = cache.lookup(cache.MODELS, name)
    if folder is None:
        with cache.entry_lock(cache.MODELS, name):
            folder = cache.lookup(cache.MODELS, name) or _create(adapter, base, name, weights=weights)
    size = units.format_bytes(sum(one.stat().st_size for one in folder.glob("*.safetensors")))
    note = f"weights: those of the run's base with its adapter merged in; the copy takes {size} in {cache.cache_folder()}"
    return folder, note if weights else ""


def find_copy(weights: Mapping[str, str]) -> Path | None:
    """Return the folder of a merged model in the cache that has these weight files, or None. `weights`: SHA-256 by name."""

    def is_wanted(digests: dict[str, str]) -> bool:
        return {name: digest for name, digest in digests.items() if name.endswith(".safetensors")} == weights

    return cache.find(cache.MODELS, is_wanted) if weights else None


def _make_key(adapter: Path) -> str:
    """Return the hash of all that the merged weights depend on: the adapter's files, one of which has the digests of the base."""
    parts = [_VERSION]
    for name in (*_OWN_FILES, f"{_CONFIG_FOLDER}/config.json"):
        path = adapter / name
        parts += [name, files.sha256(path) if path.is_file() else ""]
    parts += [f"{path.name} {files.sha256(path)}" for path in _tokenizer_files(adapter)]
    return cache.make_key(parts)


def _tokenizer_files(adapter: Path) -> list[Path]:
    return sorted({path for pattern in _TOKENIZERS for path in adapter.glob(pattern) if path.is_file()})


def _create(adapter: Path, base: Path, name: str, *, weights: bool) -> Path:
    if weights:
        num_bytes = 2 * sum(path.stat().st_size for path in base.glob("*.safetensors"))  # of numbers in 16 bits
        stored_copy.check_room(num_bytes, what="a copy with the adapter merged in takes up to", where=adapter)
    try:
        with cache.create(cache.MODELS, name) as place:
            for path in _tokenizer_files(adapter):
                shutil.copyfile(path, place / path.name)
            if weights:
                with quiet_libraries():
                    _merge(adapter, base).save_pretrained(place)
            else:
                shutil.copyfile(adapter / _CONFIG_FOLDER / "config.json", place / "config.json")
    except OSError as error:
        if not stored_copy.is_storage_error(error):
            raise _damaged(adapter, error) from None
        raise stored_copy.storage_error(error, what="the merged model", where=adapter) from None
    return stored_copy.require_kept(cache.lookup(cache.MODELS, name), what="the merged model", where=adapter)


def _merge(adapter: Path, base: Path) -> Any:
    """Return the base's network in float32 with the adapter merged in."""
    import torch

    from finewright.models import quantization
    from finewright.models.adapters.peft import find_pattern

    with peft_quiet():
        from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import safe_open
    from transformers import AutoConfig

    try:
        found = PeftConfig.from_pretrained(str(adapter))
        if pattern := find_pattern(found):
            raise _damaged(adapter, ValueError(f"it names its modules by a pattern, {pattern[:60]!r}"))
        config = AutoConfig.from_pretrained(adapter / _CONFIG_FOLDER, trust_remote_code=False)
        network = _load(base, config)
        if four_bit := quantization.read_quantization(adapter):
            options = quantization.loading_options(four_bit, bfloat16=False, skip=_skipped(adapter), device="cpu")
            quantization.dequantise(_load(base, config, options), into=network)
        model: Any = PeftModel.from_pretrained(network, str(adapter), is_trainable=True)  # so that nothing is rounded
        with safe_open(adapter / WEIGHTS, framework="pt") as stored:
            names = set(stored.keys())
        unmatched = names ^ set(get_peft_model_state_dict(model, save_embedding_layers=False))
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            fix = "free some memory, or take a smaller model"
            raise UserError("out of memory while merging", where=str(adapter), fix=fix, code=ExitCode.OUT_OF_MEMORY) from None
        raise _damaged(adapter, error) from None
    if unmatched:
        raise _damaged(
            adapter,
            ValueError(
                f"{counted(len(unmatched), 'tensor is', 'tensors are')} missing or left over, for instance {min(unmatched)}"
            ),
        )
    merged = model.merge_and_unload()
    if broken := [name for name, tensor in merged.named_parameters() if not torch.isfinite(tensor).all()]:
        raise _damaged(
            adapter,
            ValueError(f"{counted(len(broken), 'merged tensor is', 'merged tensors are')} not finite, for instance {broken[0]}"),
        )
    return merged


def _load(base: Path, config: Any, options: dict[str, Any] | None = None) -> Any:
    import torch

    from finewright.models import network_class

    network = network_class.class_of(config, auto_model=LANGUAGE_MODEL).from_pretrained(
        base, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **(options or {})
    )
    return network.requires_grad_(False)


def _skipped(adapter: Path) -> list[str]:
    """Return the modules that were not quantized, as the adapter's record says."""
    return json.loads((adapter / _QUANTIZATION).read_text(encoding="utf-8"))["skip_modules"]


def _damaged(adapter: Path, error: Exception) -> UserError:
    what = f"the run's adapter cannot be merged into its base: {first_line(error)}"
    return UserError(what, where=str(adapter), fix="train it again", code=ExitCode.MISMATCH)
