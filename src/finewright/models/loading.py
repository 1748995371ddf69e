"""Load a model and its tokenizer: a base with a head for the labels, or what a run saved."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from finewright.core.errors import ExitCode, UserError, is_out_of_memory
from finewright.models import acceleration, architectures, hub, provenance, quantization, size
from finewright.models.adapters.plain_lora import install_plain_lora, read_plain_lora
from finewright.models.architectures.base import Architecture
from finewright.models.meta import (
    BaseNetwork,
    build_random_network,
    check_not_hollow,
    count_parameters,
    first_line,
    load_config,
    load_saved_config,
    load_tokenizer,
    quiet_libraries,
    use_packed_attention,
)
from finewright.models.prepared import BaseModelRef, PreparedModel, use_bfloat16
from finewright.models.quantization import FourBit

_NAMES = re.compile(r"(?:[\w.-]|\\\.)*")
"""Module names; the dot between them may be escaped, as PEFT takes some names for patterns."""


def load_model(
    source: hub.ModelSource,
    *,
    labels: Sequence[str],
    random: bool = False,
    seed: int = 0,
    four_bit: FourBit | None = None,
    bfloat16: bool = False,
    device: str = "cpu",
) -> BaseNetwork:
    """Load the network of `source` with a head for `labels`; `random`: the same architecture with random weights.

    `four_bit`: quantize the matrices of the layers while they are read, on `device`, for products in bfloat16 or float32.
    """
    with quiet_libraries():
        config = load_config(source, labels=labels)
        architecture = architectures.architecture_of(config)
        torch.manual_seed(seed)
        network, missing = (
            build_random_network(config)
            if random
            else _load_pretrained(source, config, _quantization_options(architecture, four_bit, bfloat16=bfloat16, device=device))
        )
        tokenizer = load_tokenizer(source.path, network)
    notes = []
    if config.pad_token_id is None:
        network.config.pad_token_id = _pad_id(tokenizer)
        pad = network.config.pad_token_id
        notes.append(f"padding: the model has no padding id; {pad} is saved for other programs, none is used here")
    network.config.use_cache = False
    network.name_or_path = source.name
    notes += use_packed_attention(network, architecture)
    if not len(network.get_submodule(architecture.layers)):
        raise UserError("the model has no layers", where=str(source.path / "config.json"), fix="another model folder")
    _check_finite(network, source.name)
    reuses_head = not random and not _touches(missing, architecture.head) and _has_labels(source, labels)
    new = (*architecture.head, *((architecture.pooler,) if _touches(missing, (architecture.pooler,)) else ()))
    if reuses_head:
        notes.append("head: the checkpoint's own head has these labels and is used")
    origin = BaseModelRef(name=source.name, revision=source.revision, tokenizer=tokenizer)
    total, loaded = count_parameters(network), size.held_bytes(network)
    return BaseNetwork(
        network, architecture, origin, new=new, reuses_head=reuses_head, total_parameters=total, loaded_bytes=loaded, notes=notes
    )


def reload_model(folder: Path, *, bfloat16: bool, device: str = "cpu") -> tuple[PreparedModel, Any]:
    """Load what a run saved, ready to predict: the network (an adapter on its base) and the tokenizer.

    `device`: where the network will run; a four-bit base is quantized there.
    """
    if not (folder / "config.json").is_file():
        raise UserError("no saved model here", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
    with quiet_libraries():
        if (folder / "adapter_config.json").exists():
            prepared_model = _load_adapter(folder, bfloat16=bfloat16, device=device)
        else:
            network, info = _from_pretrained(folder, load_saved_config(folder))
            unmatched = {*info["missing_keys"], *info["unexpected_keys"], *(key for key, *_ in info["mismatched_keys"])}
            _check_all_matched(folder, unmatched)
            network.requires_grad_(False)
            prepared_model = PreparedModel(
                network=network, trainable_module=network, architecture=architectures.architecture_of(network.config)
            )
        tokenizer = load_tokenizer(folder, prepared_model.network)
    use_packed_attention(prepared_model.network, prepared_model.architecture)
    if bfloat16:
        use_bfloat16(prepared_model)
    acceleration.accelerate(prepared_model, device=device)
    prepared_model.trainable_module.requires_grad_(False)
    prepared_model.trainable_module.eval()
    return prepared_model, tokenizer


def load_merged(folder: Path, *, dequantised: bool) -> tuple[Any, Any]:
    """Load a saved adapter merged into its base in full precision, and the tokenizer.

    `dequantised`: the base has the values of the four-bit weights that the adapter was trained on, not the published ones.
    """
    with quiet_libraries():
        prepared_model = _load_adapter(folder, bfloat16=False, device="cpu", base="dequantised" if dequantised else "published")
        return prepared_model.trainable_module.merge_and_unload(), load_tokenizer(folder, prepared_model.network)


def _check_finite(network: Any, name: str) -> None:
    broken = [key for key, parameter in network.named_parameters() if not torch.isfinite(parameter).all()]
    if broken:
        what = f"{len(broken)} tensors hold values that are not finite, for instance {broken[0]}"
        raise UserError(what, where=name, fix="another checkpoint", code=ExitCode.MISMATCH)


def _quantization_options(architecture: Architecture, four_bit: FourBit | None, *, bfloat16: bool, device: str) -> dict[str, Any]:
    """Arguments that quantize the layers only: head and pooler are trained, embeddings are not multiplied."""
    if four_bit is None:
        return {}
    skip = [*architecture.head, *([architecture.pooler] if architecture.pooler else [])]
    return quantization.loading_options(four_bit, bfloat16=bfloat16, skip=skip, device=device)


def _load_pretrained(source: hub.ModelSource, config: Any, quantizing: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the network and the names of tensors that the checkpoint did not set."""
    network, info = _from_pretrained(source.path, config, quantizing)
    architecture = architectures.architecture_of(config)
    mismatched = [key for key, *_ in info["mismatched_keys"]]
    for unset, fault in ((info["missing_keys"], "lacks"), (mismatched, "has other shapes for")):
        needed = sorted(key for key in unset if not _touches([key], (*architecture.head, architecture.pooler)))
        if needed:
            raise UserError(
                f"the checkpoint {fault} {len(needed)} tensors of the model, for instance {needed[0]}",
                where=source.name,
                fix="another checkpoint or config: these tensors would be random",
                code=ExitCode.MISMATCH,
            )
    return network, sorted({*info["missing_keys"], *mismatched})


def _from_pretrained(folder: Path, config: Any, quantizing: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForSequenceClassification

    check_not_hollow(config, folder)
    try:
        network, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **(quantizing or {}),
        )
    except Exception as error:  # a wrong value in the config can raise anything
        if is_out_of_memory(error):
            raise _out_of_memory(folder) from None
        reason = first_line(error)
        raise UserError(f"cannot load the weights: {reason}", where=str(folder), code=ExitCode.MISMATCH) from error
    if quantizing:
        dtype = quantizing["quantization_config"].bnb_4bit_compute_dtype
        quantization.prepare_for_training(network, bfloat16=dtype == torch.bfloat16)
    _copy_mapped_weights(network)
    return network, info


def _copy_mapped_weights(network: Any) -> None:
    """Copy weights that are mapped from their file: overwriting it would change them, truncating it would kill the process."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point() and tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _load_adapter(
    folder: Path, *, bfloat16: bool, device: str, base: Literal["as trained", "published", "dequantised"] = "as trained"
) -> PreparedModel:
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError("the adapter has no weights", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
    four_bit = quantization.read_quantization(folder)
    plain = read_plain_lora(folder) if base == "as trained" and four_bit is None else None
    adapter = plain or _read_peft_config(folder)
    _check_no_patterns(folder, adapter)
    source = hub.resolve_model(adapter.base_model_name_or_path, revision=adapter.revision or "")
    provenance.check_base(folder, source)
    config = load_saved_config(folder)
    architecture = architectures.architecture_of(config)
    quantizing = _quantization_options(architecture, four_bit, bfloat16=bfloat16, device=device)
    network = _from_pretrained(source.path, config, quantizing if base == "as trained" else {})[0].requires_grad_(False)
    if base == "dequantised":
        quantization.dequantise(_from_pretrained(source.path, config, quantizing)[0], into=network)
    network.name_or_path = source.name
    if plain is not None and install_plain_lora(network, folder, plain):
        return PreparedModel(network=network, trainable_module=network, architecture=architecture)
    return _wrap_by_peft(network, folder, architecture=architecture)


def _read_peft_config(folder: Path) -> Any:
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(folder))
    except Exception as error:
        raise _damaged(folder, error) from None


def _wrap_by_peft(network: Any, folder: Path, *, architecture: Architecture) -> PreparedModel:
    """Put a saved adapter of any kind around its base."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    adapter = _read_peft_config(folder)
    try:
        # Trainable weights are not rounded to bfloat16; a prompt lies outside the layers, and PEFT refuses it as trainable.
        trainable_module: Any = PeftModel.from_pretrained(network, str(folder), is_trainable=not adapter.is_prompt_learning)
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as stored:
            names = set(stored.keys())
    except Exception as error:
        raise _out_of_memory(folder) if is_out_of_memory(error) else _damaged(folder, error) from None
    _check_all_matched(folder, names ^ set(get_peft_model_state_dict(trainable_module, save_embedding_layers=False)))
    prompt = trainable_module.prompt_encoder["default"].embedding.weight if adapter.is_prompt_learning else None
    return PreparedModel(network=network, trainable_module=trainable_module, architecture=architecture, prompt=prompt)


def _check_all_matched(folder: Path, unmatched: set[str]) -> None:
    """Raise `UserError` if tensors are missing, which would be random, or left over, which belong to another model."""
    if unmatched:
        what = f"{len(unmatched)} tensors are missing, left over or of other shapes, for instance {min(unmatched)}"
        raise _damaged(folder, ValueError(what))


def _check_no_patterns(folder: Path, adapter: Any) -> None:
    """Raise `UserError` if an adapter names its modules by a regular expression: PEFT would run it, and some never end."""
    values = [getattr(adapter, name, None) for name in ("target_modules", "exclude_modules", "layers_pattern")]
    names = [value if isinstance(value, str) else "".join(map(str, value or ())) for value in values]
    names += [str(key) for name in ("rank_pattern", "alpha_pattern") for key in getattr(adapter, name, None) or ()]
    patterns = [name for name in names if not _NAMES.fullmatch(name)]
    if patterns:
        raise _damaged(folder, ValueError(f"it names its modules by a pattern, {patterns[0][:60]!r}"))


def _out_of_memory(folder: Path) -> UserError:
    fix = "free some memory, or take a smaller model; `finewright plan` says how much loading takes"
    return UserError("out of memory while reading the weights", where=str(folder), fix=fix, code=ExitCode.OUT_OF_MEMORY)


def _damaged(folder: Path, error: Exception) -> UserError:
    what = f"the saved model cannot be read: {first_line(error)}"
    return UserError(what, where=str(folder), fix="train it again", code=ExitCode.MISMATCH)


def _pad_id(tokenizer: Any) -> int:
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token_id for token_id in ids if token_id is not None)


def _has_labels(source: hub.ModelSource, labels: Sequence[str]) -> bool:
    names = load_saved_config(source.path).id2label or {}
    return [names.get(index) for index in range(len(names))] == list(labels)


def _touches(keys: Sequence[str], modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for key in keys for module in modules if module)
