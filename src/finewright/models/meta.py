"""A model without its weights: its config, its tokenizer, and the network on the meta device."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from finewright.core.errors import ExitCode, UserError, first_line
from finewright.core.quiet import quiet_libraries as quiet_libraries
from finewright.models import (
    architectures,
    hub,
    pooling,
    quantization,
    tokenizer_config,
    tokenizer_files,
    weight_files,
)
from finewright.models.architectures.base import NO_LIMIT, Architecture, without_numbers
from finewright.models.attention import packed
from finewright.models.head_spec import TOKEN_CLASSIFICATION, HeadSpec
from finewright.models.network_class import build_random_network
from finewright.models.prepared import BaseModelRef, PreparedModel, Runtime
from finewright.models.quantization import FourBit

MAX_LAYERS, MAX_EXPERTS, MAX_PARAMETERS = 512, 2**16, 20 * 10**12
"""A config with more is wrong: about ten times what the largest published models have."""
MAX_UNSTORED_PARAMETERS = 10**8
"""Parameters a network may have that its weight files do not hold: a head for many labels, which no checkpoint brings."""
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_hidden_groups", "inner_group_num")
MIN_TOKENS = 16
"""If there is no tokenizer, transformers makes up one with fewer tokens than this, special ones aside."""


@dataclass(frozen=True)
class BaseNetwork:
    """A pre-trained or random network with a task's head, before a method changes it.

    `new`: modules that the checkpoint lacks, the head first. `reuses_head`: the checkpoint's own head has these labels.
    `total_parameters`: counted before quantization, with the head. `loaded_bytes`: size of all tensors as they are read, before
    a method rounds or adds any.
    """

    network: Any
    architecture: Architecture
    origin: BaseModelRef
    head_spec: HeadSpec
    new: tuple[str, ...]
    reuses_head: bool
    total_parameters: int
    loaded_bytes: int = 0
    notes: list[str] = field(default_factory=list)

    def as_prepared(
        self,
        trainable_module: Any = None,
        *,
        prompt: torch.Tensor | None = None,
        notes: Sequence[str] = (),
        start: dict[str, torch.Tensor] | None = None,
        exact_reload: bool = True,
    ) -> PreparedModel:
        """Return the network as a method has changed it, run as its head wants. `trainable_module`: the network if None.

        The other arguments are the fields of `PreparedModel`.
        """
        for name, parameter in self.network.named_parameters():
            if self.architecture.unused and without_numbers(name) in self.architecture.unused:
                parameter.requires_grad_(False)
        return PreparedModel(
            network=self.network,
            trainable_module=self.network if trainable_module is None else trainable_module,
            architecture=self.architecture,
            prompt=prompt,
            notes=list(notes),
            start=start or {},
            exact_reload=exact_reload,
            runtime=Runtime(reads=self.head_spec.reads),
        )


def meta_model(
    source: hub.ModelSource,
    *,
    head_spec: HeadSpec,
    four_bit: FourBit | None = None,
    bfloat16: bool = False,
    tokenizer: bool = True,
) -> BaseNetwork:
    """Build the network on the meta device, from its config alone, with a fresh head."""
    with quiet_libraries(), torch.device("meta"):
        config = load_config(source, head_spec=head_spec)
        standard = architectures.architecture_for(config, auto_model=head_spec.auto_model)
        architecture = pooling.choose_for_task(source.path, standard, head_spec).architecture
        network = build_random_network(config, auto_model=head_spec.auto_model)
        check_has_head(network, standard, head_spec)
        pooling.install_linear_head(network, architecture, standard=standard, num_outputs=head_spec.num_outputs)
    network.config.use_cache = False
    use_packed_attention(network, architecture)
    total = count_parameters(network)
    if total > MAX_PARAMETERS:
        what = f"the config claims {total:,} parameters, more than {MAX_PARAMETERS:,}"
        raise UserError(what, where=str(source.path / "config.json"), fix="another model folder")
    if four_bit is not None:
        with torch.device("meta"):
            quantization.meta_quantize(network, layers=architecture.layers, four_bit=four_bit, bfloat16=bfloat16)
    with quiet_libraries():
        origin = BaseModelRef(source.name, source.revision, load_tokenizer(source.path, network) if tokenizer else None)
    pooled = architecture.pooler and not has_pooler(source.path)
    new = (*architecture.head, *((architecture.pooler,) if pooled else ()))
    loaded = sum(tensor.numel() * tensor.element_size() for tensor in [*network.parameters(), *network.buffers()])
    sizes = {"total_parameters": total, "loaded_bytes": loaded}
    return BaseNetwork(network, architecture, origin, head_spec, new=new, reuses_head=False, **sizes)


def count_parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _check_plausible(config: Any, *, where: str) -> None:
    """Raise `UserError` for values that no model has: a config of a few bytes could claim more than can ever be built."""
    for name in ("num_hidden_layers", "num_attention_heads"):
        value = getattr(config, name, 1)
        if not isinstance(value, int) or not 0 < value <= MAX_LAYERS:
            raise UserError(f"{name} is {value!r}, wanted 1 to {MAX_LAYERS:,}", where=where, fix="another model folder")
    for name in ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings"):
        value = getattr(config, name, None)
        if name == "max_position_embeddings" and value == NO_LIMIT:
            continue
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UserError(f"{name} is {value!r}, wanted 1 or more", where=where, fix="another model folder")
    for name, value in vars(config).items():
        if "expert" in name and isinstance(value, int) and value > MAX_EXPERTS:
            raise UserError(f"{name} is {value:,}, wanted at most {MAX_EXPERTS:,}", where=where, fix="another model folder")
    heads, key_heads = getattr(config, "num_attention_heads", 1), getattr(config, "num_key_value_heads", None)
    if key_heads and heads % key_heads:
        raise UserError(f"{heads} attention heads cannot share {key_heads} key heads", where=where, fix="another model folder")


def check_not_hollow(config: Any, folder: Path, *, auto_model: str) -> None:
    """Raise `UserError` if a config claims many more parameters than its weight files hold, before memory is allocated.

    No format stores a parameter in less than half a byte.
    """
    with quiet_libraries(), torch.device("meta"):
        network = build_random_network(config, auto_model=auto_model)
    claimed = count_parameters(network) + sum(buffer.numel() for buffer in network.buffers())
    stored = sum(file.stat().st_size for file in weight_files.list_safetensors(folder))
    if claimed > 2 * stored + MAX_UNSTORED_PARAMETERS:
        what = f"the config claims {claimed:,} parameters, the weights beside it are {stored:,} bytes"
        fix = "bring back the config that belongs to the weights"
        raise UserError(what, where=str(folder), fix=fix, code=ExitCode.MISMATCH)


def has_pooler(folder: Path) -> bool:
    """Whether the checkpoint has a pooler; a folder without weights is taken to have one."""
    from safetensors import safe_open

    names = []
    for file in weight_files.list_safetensors(folder):
        with contextlib.suppress(OSError, SafetensorError), safe_open(file, framework="pt") as stored:
            names += list(stored.keys())
    return not names or any("pooler." in name for name in names)


def load_config(source: hub.ModelSource, *, head_spec: HeadSpec) -> Any:
    """Return the transformers config of a base model, with the outputs of this head."""
    config = load_saved_config(source.path)
    head_spec.write_to(config)
    return config


def check_has_head(network: Any, architecture: Architecture, head_spec: HeadSpec) -> None:
    """Raise `UserError` if the architecture's modules of a head are not those of this network."""
    if not architecture.has_standard_head:
        return
    modules = {name for name, _ in network.named_modules()}
    absent = [name for name in architecture.head if name not in modules]
    if absent:
        what = f"{architecture.model_type} has no known head for {head_spec.auto_model}: its network lacks {', '.join(absent)}"
        raise UserError(what, where="task", fix="another model, or another task")
    if head_spec.auto_model != TOKEN_CLASSIFICATION:
        return
    known = {architecture.body.partition(".")[0], "dropout", "drop", *architecture.head}
    more = [name for name, _ in network.named_children() if name not in known]
    if more:
        what = f"the class that scores every token of {architecture.model_type} has further modules ({', '.join(more)})"
        raise UserError(what, where="config.json: model_type", fix="take a model of another architecture")


def load_saved_config(folder: Path) -> Any:
    """Load the config of a folder from an untrusted source; raise `UserError` if it claims what no model has."""
    from transformers import AutoConfig

    where = str(folder / "config.json")
    try:
        written = json.loads((folder / "config.json").read_bytes(), object_hook=partial(_check_num_layers, where=where))
        _check_text_only(written, where=where)
        _check_has_code(written, where=where)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except UserError:
        raise
    except json.JSONDecodeError as error:
        raise UserError(f"not a model config, not even JSON: {error}", where=where, fix="another model folder") from None
    except Exception as error:  # a wrong value can raise anything
        raise UserError(f"not a model config: {first_line(error)}", where=where, fix="another model folder") from None
    try:
        if config.model_type in architectures.architecture_names():
            architectures.architecture_of(config)
        _check_plausible(config, where=where)
        architectures.architecture_of(config)  # builds a network if the architecture is not described
    except UserError as error:
        if error.where.startswith("config.json"):  # whoever looks at a config alone does not know where it lies
            error.where = str(folder / error.where)
        raise
    return config


def _check_text_only(written: Any, *, where: str) -> None:
    """Raise `UserError` for a model of texts and images: its text part has other names in the weights, and would be random."""
    part = written.get("text_config") if isinstance(written, dict) else None
    if isinstance(part, dict):
        kind, inner = written.get("model_type"), part.get("model_type", "unnamed")
        what = f"a model of texts and something else ({kind!r}, its text part {inner!r}); only models of text alone are read"
        raise UserError(what, where=where, fix="take the text-only model of the family, or save its text part as a model")


def _check_has_code(written: Any, *, where: str) -> None:
    """Raise `UserError` for a type of model that transformers has no code for. Code that comes with a model is never run."""
    from transformers import CONFIG_MAPPING, __version__

    kind = written.get("model_type") if isinstance(written, dict) else None
    if not isinstance(kind, str) or kind in CONFIG_MAPPING:
        return
    if written.get("auto_map"):
        what = f"the architecture {kind[:60]!r} is code that comes with the model (auto_map), which is never run"
        raise UserError(what, where=where, fix="take a model of an architecture that is part of transformers")
    what = f"transformers {__version__} has no architecture {kind[:60]!r}"
    fix = "`pip install --upgrade transformers`, as a newer release may have it, or take another model"
    raise UserError(what, where=where, fix=fix)


def _check_num_layers(written: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Return an object of a config. Raise `UserError` for too many layers.

    transformers reads them afterwards, and some of its configs build a list of that length.
    """
    for name in _LAYERS:
        value = written.get(name)
        if isinstance(value, int | float) and value > MAX_LAYERS:
            what = f"{name} is {value!r}, wanted 1 to {MAX_LAYERS:,}"
            raise UserError(what, where=where, fix="another model folder")
    return written


def load_tokenizer(folder: Path, network: Any, *, notes: list[str] | None = None) -> Any:
    """Load the tokenizer of a folder and check that it suits the network. Add to `notes` what was mended."""
    tokenizer = _open_tokenizer(folder)
    found = tokenizer_config.add_missing_specials(tokenizer, architecture=architectures.architecture_of(network.config))
    if notes is not None:
        notes += found
    if len(tokenizer) - len(set(tokenizer.all_special_ids)) < MIN_TOKENS:
        what = f"no tokenizer: it has {len(tokenizer)} tokens, so every text would look the same"
        raise UserError(what, where=str(folder), fix="save the model's tokenizer into the folder")
    num_rows = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_rows:  # rows for the others would be random, and how long ago the tokens were added is not known
        raise UserError(
            f"the tokenizer has {len(tokenizer)} tokens, the model has embeddings for {num_rows}",
            where=str(folder),
            fix="use the tokenizer the model was trained with, or save the model after resize_token_embeddings",
            code=ExitCode.MISMATCH,
        )
    return tokenizer


def _open_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if fault := tokenizer_files.find_fault(folder):
        raise UserError(f"no tokenizer: {fault[0]}", where=str(folder), fix=fault[1])
    _check_config_beside(folder)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise _tokenizer_error(folder, error) from None
    if what := tokenizer_files.check_conversion(folder, tokenizer):
        fix = "save the model's tokenizer.json into the folder"
        raise UserError(f"no tokenizer that can be trusted: {what}", where=str(folder), fix=fix, code=ExitCode.MISMATCH)
    return tokenizer


def _check_config_beside(folder: Path) -> None:
    """Raise `UserError` if a config has too many layers: to find the tokenizer's class, transformers reads it, even beside an
    adapter, which needs none."""
    path = folder / "config.json"
    if path.is_file():
        with contextlib.suppress(ValueError, RecursionError, OSError):  # whether it can be read is for transformers to say
            json.loads(path.read_bytes(), object_hook=partial(_check_num_layers, where=str(path)))


def _tokenizer_error(folder: Path, error: Exception) -> UserError:
    if fault := tokenizer_config.find_fault(folder):
        return UserError(
            f"no tokenizer: {fault}", where=str(folder), fix="correct this entry, or save the model's tokenizer there"
        )
    return UserError(f"no tokenizer: {first_line(error)}", where=str(folder), fix="save the model's tokenizer into the folder")


def load_tokenizer_if_any(folder: Path) -> Any | None:
    """Load the tokenizer of a folder; None if it has none."""
    if not any(path for pattern in ("tokenizer*", "vocab*", "*.model") for path in folder.glob(pattern)):
        return None
    with quiet_libraries():
        tokenizer = _open_tokenizer(folder)
        architecture = architectures.architecture_of(load_saved_config(folder))
        tokenizer_config.add_missing_specials(tokenizer, architecture=architecture)
        return tokenizer


def use_packed_attention(network: Any, architecture: Architecture) -> list[str]:
    if architecture.not_packable:
        batches = "batches hold texts of one length" if architecture.needs_equal_lengths else "batches are padded"
        return [f"{batches}: {architecture.model_type} cannot be packed, {architecture.not_packable}"]
    packed.register()
    network.set_attn_implementation(packed.NAME)
    return []
