"""A model and its tokenizer: built with a head for the labels, or loaded again from what a run saved."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from finewright import anatomy as anatomies
from finewright import fast, hub, memory, provenance, quantization
from finewright.anatomy import Anatomy
from finewright.errors import ExitCode, UserError, is_out_of_memory
from finewright.quantization import FourBit
from finewright.shapes import (
    Base,
    config_of,
    first_line,
    num_parameters,
    quiet,
    random_network,
    refuse_hollow,
    saved_config,
    tokenizer_of,
    use_packing,
)
from finewright.tuned import Origin, Tuned

_NAMES = re.compile(r"(?:[\w.-]|\\\.)*")
"""Names of modules, the dot between them written plainly or, where PEFT reads a pattern, as one."""


def load(
    source: hub.Source,
    *,
    labels: Sequence[str],
    random: bool = False,
    seed: int = 0,
    four_bit: FourBit | None = None,
    bfloat16: bool = False,
    device: str = "cpu",
) -> Base:
    """The network of `source` with a head for `labels`; `random`: the same shape with random weights.

    `four_bit`: pack the matrices of the blocks while they are read, on `device`, for products in bfloat16 or float32.
    """
    with quiet():
        config = config_of(source, labels=labels)
        anatomy = anatomies.of(config)
        torch.manual_seed(seed)
        network, missing = (
            random_network(config)
            if random
            else _pretrained(source, config, _packing(anatomy, four_bit, bfloat16=bfloat16, device=device))
        )
        tokenizer = tokenizer_of(source.path, network)
    notes = []
    if config.pad_token_id is None:
        network.config.pad_token_id = _pad_id(tokenizer)
        pad = network.config.pad_token_id
        notes.append(f"padding: the model names no padding id; {pad} is saved for other programs, here none is used")
    network.config.use_cache = False
    network.name_or_path = source.name
    notes += use_packing(network, anatomy)
    if not len(network.get_submodule(anatomy.blocks)):
        raise UserError("the model has no blocks", where=str(source.path / "config.json"), fix="another model folder")
    _require_finite(network, source.name)
    kept = not random and not _touches(missing, anatomy.head) and _same_labels(source, labels)
    new = (*anatomy.head, *((anatomy.pooler,) if _touches(missing, (anatomy.pooler,)) else ()))
    if kept:
        notes.append("head: the checkpoint's own head has these labels and is kept")
    origin = Origin(name=source.name, revision=source.revision, tokenizer=tokenizer)
    total, loaded = num_parameters(network), memory.held_bytes(network)
    return Base(network, anatomy, origin, new=new, kept_head=kept, total_parameters=total, loaded_bytes=loaded, notes=notes)


def reload(folder: Path, *, bfloat16: bool, device: str = "cpu") -> tuple[Tuned, Any]:
    """What a run saved, ready to predict: the network (an adapter on its base again) and the tokenizer.

    `device`: where a base in four bits is packed.
    """
    if not (folder / "config.json").is_file():
        raise UserError("no saved model here", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
    with quiet():
        if (folder / "adapter_config.json").exists():
            tuned = _reload_adapter(folder, bfloat16=bfloat16, device=device)
        else:
            network, info = _from_pretrained(folder, saved_config(folder))
            strange = {*info["missing_keys"], *info["unexpected_keys"], *(key for key, *_ in info["mismatched_keys"])}
            _require_all(folder, strange)
            network.requires_grad_(False)
            tuned = Tuned(network=network, owner=network, anatomy=anatomies.of(network.config))
        tokenizer = tokenizer_of(folder, tuned.network)
    use_packing(tuned.network, tuned.anatomy)
    if bfloat16:
        use_bfloat16(tuned)
    fast.apply(tuned, device=device)
    tuned.owner.requires_grad_(False)
    tuned.owner.eval()
    return tuned, tokenizer


def merged(folder: Path, *, dequantised: bool) -> tuple[Any, Any]:
    """A saved adapter added into its base, and the tokenizer. However the base was packed in training, it is in full precision;
    `dequantised`: with the weights that the packed one stands for.
    """
    with quiet():
        tuned = _reload_adapter(folder, bfloat16=False, device="cpu", base="dequantised" if dequantised else "published")
        return tuned.owner.merge_and_unload(), tokenizer_of(folder, tuned.network)


def use_bfloat16(tuned: Tuned) -> None:
    """Matrix products in bfloat16; frozen matrices of the blocks are kept in it.

    Autocast would round them to the very same numbers at every step. What is trained, the head, the norms and the
    embeddings stay in float32.
    """
    from transformers.pytorch_utils import Conv1D

    tuned.bfloat16 = True
    for module in tuned.network.get_submodule(tuned.anatomy.blocks).modules():
        packed = isinstance(module, torch.nn.Linear) and not module.weight.is_floating_point()
        if isinstance(module, torch.nn.Linear | Conv1D) and not packed and not any(p.requires_grad for p in module.parameters()):
            module.to(torch.bfloat16)


def _require_finite(network: Any, name: str) -> None:
    broken = [key for key, parameter in network.named_parameters() if not torch.isfinite(parameter).all()]
    if broken:
        what = f"{len(broken)} tensors hold values that are no numbers, for instance {broken[0]}"
        raise UserError(what, where=name, fix="another checkpoint", code=ExitCode.MISMATCH)


def _packing(anatomy: Anatomy, four_bit: FourBit | None, *, bfloat16: bool, device: str) -> dict[str, Any]:
    """Only the blocks are packed: head and pooler are trained, embeddings are no products."""
    if four_bit is None:
        return {}
    skip = [*anatomy.head, *([anatomy.pooler] if anatomy.pooler else [])]
    return quantization.loading_options(four_bit, bfloat16=bfloat16, skip=skip, device=device)


def _pretrained(source: hub.Source, config: Any, packing: dict[str, Any]) -> tuple[Any, list[str]]:
    network, info = _from_pretrained(source.path, config, packing)
    anatomy = anatomies.of(config)
    mismatched = [key for key, *_ in info["mismatched_keys"]]
    for unset, fault in ((info["missing_keys"], "lacks"), (mismatched, "has other shapes for")):
        strange = sorted(key for key in unset if not _touches([key], (*anatomy.head, anatomy.pooler)))
        if strange:
            raise UserError(
                f"the checkpoint {fault} {len(strange)} tensors of the model, for instance {strange[0]}",
                where=source.name,
                fix="another checkpoint or config: random numbers would stand there",
                code=ExitCode.MISMATCH,
            )
    return network, sorted({*info["missing_keys"], *mismatched})


def _from_pretrained(folder: Path, config: Any, packing: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForSequenceClassification

    refuse_hollow(config, folder)
    try:
        network, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **(packing or {}),
        )
    except Exception as error:  # a strange value raises whatever reads it first
        if is_out_of_memory(error):
            raise _no_room(folder) from None
        reason = first_line(error)
        raise UserError(f"cannot load the weights: {reason}", where=str(folder), code=ExitCode.MISMATCH) from error
    if packing:
        quantization.settle(network, bfloat16=packing["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16)
    _own_memory(network)
    return network, info


def _own_memory(network: Any) -> None:
    """Safetensors are mapped from their file: written over in place it would change the weights at work, cut off it would kill
    the process."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point() and tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _reload_adapter(
    folder: Path, *, bfloat16: bool, device: str, base: Literal["as trained", "published", "dequantised"] = "as trained"
) -> Tuned:
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError("the adapter has no weights", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
    try:
        adapter: Any = PeftConfig.from_pretrained(str(folder))
    except Exception as error:
        raise _damaged(folder, error) from None
    _refuse_patterns(folder, adapter)
    source = hub.resolve(adapter.base_model_name_or_path, revision=adapter.revision or "")
    provenance.require_same(folder, source)
    config = saved_config(folder)
    anatomy = anatomies.of(config)
    packing = _packing(anatomy, quantization.read(folder), bfloat16=bfloat16, device=device)
    network = _from_pretrained(source.path, config, packing if base == "as trained" else {})[0].requires_grad_(False)
    if base == "dequantised":
        quantization.dequantise(_from_pretrained(source.path, config, packing)[0], into=network)
    network.name_or_path = source.name
    try:
        # What is trainable is not rounded to bfloat16; a prompt lies outside the blocks, and PEFT refuses it as trainable.
        owner: Any = PeftModel.from_pretrained(network, str(folder), is_trainable=not adapter.is_prompt_learning)
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as stored:
            names = set(stored.keys())
    except Exception as error:
        raise _no_room(folder) if is_out_of_memory(error) else _damaged(folder, error) from None
    _require_all(folder, names ^ set(get_peft_model_state_dict(owner, save_embedding_layers=False)))
    prompt = owner.prompt_encoder["default"].embedding.weight if adapter.is_prompt_learning else None
    return Tuned(network=network, owner=owner, anatomy=anatomy, prompt=prompt)


def _require_all(folder: Path, strange: set[str]) -> None:
    """Tensors that a saved model lacks would be random numbers, and those that are left over belong to another one."""
    if strange:
        what = f"{len(strange)} tensors are missing, left over or of other shapes, for instance {min(strange)}"
        raise _damaged(folder, ValueError(what))


def _refuse_patterns(folder: Path, adapter: Any) -> None:
    """Where an adapter goes is told by names. PEFT would also take regular expressions, and some of those never end."""
    told = [getattr(adapter, name, None) for name in ("target_modules", "exclude_modules", "layers_pattern")]
    told = [value if isinstance(value, str) else "".join(map(str, value or ())) for value in told]
    told += [str(key) for name in ("rank_pattern", "alpha_pattern") for key in getattr(adapter, name, None) or ()]
    strange = [value for value in told if not _NAMES.fullmatch(value)]
    if strange:
        raise _damaged(folder, ValueError(f"it names its places by a pattern, {strange[0][:60]!r}"))


def _no_room(folder: Path) -> UserError:
    fix = "free some memory, or take a smaller model; `finewright plan` says what loading takes"
    return UserError("out of memory while reading the weights", where=str(folder), fix=fix, code=ExitCode.OUT_OF_MEMORY)


def _damaged(folder: Path, error: Exception) -> UserError:
    what = f"the saved model cannot be read: {first_line(error)}"
    return UserError(what, where=str(folder), fix="train it again", code=ExitCode.MISMATCH)


def _pad_id(tokenizer: Any) -> int:
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token_id for token_id in ids if token_id is not None)


def _same_labels(source: hub.Source, labels: Sequence[str]) -> bool:
    names = saved_config(source.path).id2label or {}
    return [names.get(index) for index in range(len(names))] == list(labels)


def _touches(keys: Sequence[str], modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for key in keys for module in modules if module)
