"""Low-rank updates beside frozen weights, through PEFT: what the methods that use them share."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from finewright.core.config import Options, option
from finewright.core.errors import UserError
from finewright.core.quiet import peft_quiet
from finewright.models.architectures.base import PROJECTIONS, Architecture, fused_rows

if TYPE_CHECKING:
    from finewright.models.meta import BaseNetwork
    from finewright.models.prepared import PreparedModel

_ADAPTER = "default"
_ALL_LINEAR = "all-linear"
Target = tuple[str, tuple[str, ...]]
"""A module's name inside a layer, and which slices of it are adapted; no slices: the whole module."""
InitialFactors = Literal["default", "gaussian", "pissa", "olora"]


class LoraOptions(Options):
    """Shape and target modules of the updates (Hu et al. 2021, arXiv:2106.09685)."""

    rank: int = option(8, "width of the update", low=1, high=4096)
    alpha: float = option(32.0, "the update is scaled by alpha / rank", low=1e-6)
    dropout: float = option(0.05, "dropout before the update", low=0, high=0.99)
    target_modules: tuple[str, ...] = option(("query", "value"), "query, key, value, output, mlp, all-linear, or module names")
    num_layers: int = option(0, "only in this many layers at the top; 0: in all", low=0)
    rslora: bool = option(False, "scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)")
    dora: bool = option(False, "learn magnitude and direction separately (Liu et al. 2024, arXiv:2402.09353)")

    @field_validator("target_modules", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def wrap_lora(base: "BaseNetwork", *, options: LoraOptions, start: InitialFactors) -> Any:
    """Put PEFT's layers on the target modules of a frozen network; on a fused projection they train the wanted slices only.

    `start`: the initial values of the update.
    """
    from finewright.models.adapters.peft import wrap_adapter

    network, architecture = base.network, base.architecture
    targets = _targets(network, options=options, architecture=architecture)
    config = _peft_config(base, options=options, targets=targets, start=start)
    trainable_module = wrap_adapter(network, config)
    _train_slices(network, options=options, architecture=architecture, targets=targets, start=start)
    return trainable_module


def _targets(network: Any, *, options: LoraOptions, architecture: Architecture) -> list[Target]:
    wanted = PROJECTIONS if _ALL_LINEAR in options.target_modules else options.target_modules
    if architecture.experts and "mlp" in wanted:
        what = f"low-rank updates do not reach the experts of {architecture.model_type} ({', '.join(architecture.experts)})"
        fix = "query, key, value and output, or full"
        raise UserError(f"{what}: each is one parameter of three dimensions", where="method.target_modules", fix=fix)
    targets = list(architecture.layer_modules([name for name in wanted if name in PROJECTIONS]))
    for name in (name for name in wanted if name not in PROJECTIONS):
        targets += [(module, ()) for module in _modules_named(network, architecture=architecture, name=name)]
    if not targets:
        raise UserError(
            "no target module", where="method.target_modules", fix=f"name some of {', '.join(PROJECTIONS)}, {_ALL_LINEAR}"
        )
    return targets


def _peft_config(base: "BaseNetwork", *, options: LoraOptions, targets: list[Target], start: InitialFactors) -> Any:
    with peft_quiet():
        from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    network, architecture = base.network, base.architecture
    conv1d = isinstance(_find_module(network.get_submodule(architecture.layers), targets[0][0]), Conv1D)
    if conv1d and start == "olora":
        raise UserError(
            "PEFT's olora cannot read GPT-2's transposed weights", where="method.init_weights", fix="init_weights=pissa"
        )
    sliced = {module.replace(".", r"\."): len(slices) for module, slices in targets if slices}
    plain_start = start == "default" or (bool(sliced) and start == "pissa")  # `_train_slices` does PiSSA slice by slice
    return LoraConfig(
        task_type=base.head_spec.peft_task_type,
        r=options.rank,
        lora_alpha=_as_int_if_whole(options.alpha),
        lora_dropout=options.dropout,
        target_modules=[module for module, _ in targets],
        rank_pattern={module: options.rank * count for module, count in sliced.items()},
        alpha_pattern={
            module: _as_int_if_whole(options.alpha * _alpha_factor(options, count)) for module, count in sliced.items()
        },
        layers_to_transform=_layer_indices(network, options=options, architecture=architecture),
        layers_pattern=architecture.layers.rpartition(".")[2] if options.num_layers else None,
        use_rslora=options.rslora,
        use_dora=options.dora,
        init_lora_weights=True if plain_start else start,
        fan_in_fan_out=conv1d,
        modules_to_save=list(base.new),
        base_model_name_or_path=base.origin.name,
        revision=base.origin.revision or None,
    )


def _find_module(layers: Any, name: str) -> Any:
    """Return a module of the first layer that has it: layers of several kinds take turns in some networks."""
    return next(module for layer in layers for path, module in layer.named_modules() if path == name)


def _alpha_factor(options: LoraOptions, factor: int) -> float:
    """The factor for alpha that keeps the update's scale when the rank grows by `factor`."""
    return math.sqrt(factor) if options.rslora else factor


def _layer_indices(network: Any, *, options: LoraOptions, architecture: Architecture) -> list[int] | None:
    num_layers = len(network.get_submodule(architecture.layers))
    if options.num_layers and architecture.shares_layers:
        what = f"no layer of {architecture.model_type} can be adapted alone: {architecture.shares_layers}"
        raise UserError(what, where="method.num_layers", fix="0, which adapts all of them")
    if options.num_layers > num_layers:
        fix = f"a number from 0 (all) to {num_layers}"
        raise UserError(
            f"wanted the top {options.num_layers} layers, the model has {num_layers}", where="method.num_layers", fix=fix
        )
    return list(range(num_layers - options.num_layers, num_layers)) if options.num_layers else None


def _train_slices(
    network: Any, *, options: LoraOptions, architecture: Architecture, targets: list[Target], start: InitialFactors
) -> None:
    from finewright.models.adapters.sliced import start_from_principal_parts, train_slices

    for layer in network.get_submodule(architecture.layers):
        for module, slices in targets:
            adapted = dict(layer.named_modules()).get(module)
            if not slices or not hasattr(adapted, "lora_A"):
                continue
            rows = [fused_rows(architecture, network.config, projection) for projection in slices]
            if start == "pissa":
                start_from_principal_parts(adapted, rows, rank=options.rank)
            train_slices(adapted, rows, rank=options.rank)


def save_adapter(prepared_model: "PreparedModel", folder: Path, *, options: LoraOptions) -> None:
    """Write a PEFT adapter folder that any PEFT loads on the plain base, and the config with the label names.

    Initial factors that were subtracted from the base: the saved update is the difference to them.
    """
    from finewright.models import adapter_folder, sentence_folder
    from finewright.models.adapters.peft import dense_state

    trainable_module, start = prepared_model.trainable_module, prepared_model.start
    state = dense_state(trainable_module)
    config = trainable_module.peft_config[_ADAPTER]
    if start:
        state |= _as_difference(state, start=start)
        trainable_module.peft_config[_ADAPTER] = _double_rank(config, options=options)
    try:
        trainable_module.save_pretrained(folder, state_dict=state, save_embedding_layers=False)
    finally:
        trainable_module.peft_config[_ADAPTER] = config
    sentence_folder.convert_adapter(folder, network=prepared_model.network, architecture=prepared_model.architecture)
    adapter_folder.save_config(folder, trainable_module.get_base_model().config)


def _double_rank(config: Any, *, options: LoraOptions) -> Any:
    """The config of an adapter of twice the rank and the same scale, with plain initial values."""
    doubled = copy.deepcopy(config)
    doubled.init_lora_weights = True
    doubled.r, doubled.lora_alpha = 2 * config.r, _as_int_if_whole(config.lora_alpha * _alpha_factor(options, 2))
    doubled.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
    doubled.alpha_pattern = {
        name: _as_int_if_whole(alpha * _alpha_factor(options, 2)) for name, alpha in config.alpha_pattern.items()
    }
    return doubled


def _as_int_if_whole(number: float) -> Any:
    """64.0 → 64: adapter_config.json has integers where it can. PEFT declares int and takes floats too."""
    return int(number) if float(number).is_integer() else float(number)


def _modules_named(network: Any, *, architecture: Architecture, name: str) -> list[str]:
    """Linear modules inside a layer whose name ends in `name`."""
    modules = {path: module for layer in network.get_submodule(architecture.layers) for path, module in layer.named_modules()}
    weighted = [path for path, module in modules.items() if getattr(module, "weight", None) is not None]
    linear = [path for path in weighted if modules[path].weight.ndim == 2]  # a quantized weight is a column
    found = [path for path in linear if path == name or path.endswith(f".{name}")]
    if not found:
        known = ", ".join([*PROJECTIONS, _ALL_LINEAR, *linear])
        raise UserError(f"no module {name!r} in a layer of this model", where="method.target_modules", fix=f"known: {known}")
    return found


def adapter_factors(trainable_module: Any) -> Iterator[tuple[str, Any]]:
    """Yield every A and B under its plain name."""
    from finewright.models.adapters.peft import dense_state

    for name, tensor in dense_state(trainable_module).items():
        if ".lora_A." in name or ".lora_B." in name:
            yield name, tensor


def _as_difference(state: dict[str, Any], *, start: dict[str, Any]) -> dict[str, Any]:
    """B·A − B₀·A₀ as one update [B, −B₀]·[A; A₀] of the plain base."""
    import torch

    joined = {}
    for name, first in start.items():
        is_a, first = ".lora_A." in name, first.to(state[name].device)
        joined[name] = torch.cat([state[name], first if is_a else -first], dim=0 if is_a else 1)
    return joined
