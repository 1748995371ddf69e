"""Make a prepared network faster without changing its results.

The same is done to the network that is trained, to the meta model that is planned with, and to a model loaded for prediction:
the plan is that of the step that runs, and scores after loading are bit for bit those before saving.
"""

from collections.abc import Iterator

import torch
from torch import nn

from finewright.core import units
from finewright.core.errors import UserError, first_line
from finewright.models import frozen_cache, fused_layers, kernels, last_layer, prepared, torch_compat
from finewright.models.adapters import fused_lora
from finewright.models.attention import packed, varlen
from finewright.models.kernels import PackedWeight
from finewright.models.prepared import PreparedModel

BACKEND = "inductor"


def compiled_parts(prepared_model: PreparedModel) -> Iterator[torch.nn.Module]:
    """Yield the modules to compile: those of each layer but attention, whose shapes differ from row to row.

    Left out are modules that are packed or have hooks, and a last layer that runs for few tokens only.
    """
    layers = list(prepared_model.network.get_submodule(prepared_model.architecture.layers))
    attention = prepared_model.architecture.attention.partition(".")[0]
    for layer in layers if prepared_model.runtime.pooled_last_layer is None else layers[:-1]:
        for name, part in layer.named_children():
            if name != attention and not any(_is_excluded(module) for module in part.modules()):
                yield part


def _is_excluded(module: torch.nn.Module) -> bool:
    return isinstance(getattr(module, "packed", None), PackedWeight) or torch_compat.has_hooks(module)


def start_compiling(prepared_model: PreparedModel) -> list[str]:
    """Compile modules at their first run, for rows of any length; return notes for the user.

    Raise `UserError` if PyTorch cannot compile on this machine.
    """
    fused_layers.unfuse_layers(prepared_model.network)
    chosen = list(compiled_parts(prepared_model))
    if not chosen:
        return ["training.compile: nothing is compiled: all modules are packed, have hooks, or run for few tokens only"]
    _check_compiler(next(prepared_model.network.parameters()).device)
    for part in chosen:
        part.compile(backend=BACKEND, dynamic=True)
    return [f"training.compile: {len(chosen)} modules of the layers are compiled when they run for the first time"]


def _check_compiler(device: torch.device) -> None:
    try:
        torch.compile(lambda states: states.tanh() + 1, backend=BACKEND)(torch.zeros(3, device=device))
    except Exception as error:  # the compiler's own errors have no common name
        reason = first_line(error)
        what = f"PyTorch cannot compile here ({reason})"
        raise UserError(what, where="training.compile", fix="leave it off, inside a run with --change compile=off") from None


def stop_compiling(prepared_model: PreparedModel) -> None:
    """Run the plain modules again, as a loaded network does."""
    for module in prepared_model.network.modules():
        torch_compat.forget_compiled(module)


def freeze_for_inference(prepared_model: PreparedModel, *, device: str = "cpu") -> None:
    """End training: bring the network into the form, kernels included, in which `reload_model` returns it.

    A whole model is frozen before it is accelerated, an adapter's own matrices only after it.
    """
    stop_compiling(prepared_model)
    if prepared_model.trainable_module is prepared_model.network:
        prepared_model.network.requires_grad_(False)
    if prepared_model.runtime.bfloat16:
        prepared.use_bfloat16(prepared_model)
    accelerate(prepared_model, device=device)
    prepared_model.trainable_module.requires_grad_(False)
    prepared_model.trainable_module.eval()


def skip_frozen_layers(prepared_model: PreparedModel, num_layers: int, *, cached: bool) -> None:
    """Run the lowest `num_layers` layers without dropout, as nothing in or below them is trained.

    `cached`: their outputs will come from a cache (`frozen_cache.build_cache`).
    """
    prepared_model.runtime.num_frozen_layers = num_layers
    if cached:
        prepared_model.runtime.frozen_prefix = frozen_cache.FrozenPrefix(
            prepared_model.network, layers=prepared_model.architecture.layers, num_layers=num_layers
        )


def use_gradient_checkpointing(prepared_model: PreparedModel, *, on: bool) -> None:
    """Store the input of each layer alone and recompute the rest in the backward pass (Chen et al. 2016, arXiv:1604.06174)."""
    network = prepared_model.network
    has_new_name = hasattr(network, "activation_checkpointing_enable")  # transformers 5.23
    if on:
        enable = network.activation_checkpointing_enable if has_new_name else network.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    elif prepared_model.runtime.gradient_checkpointing:
        (network.activation_checkpointing_disable if has_new_name else network.gradient_checkpointing_disable)()
    prepared_model.runtime.gradient_checkpointing = on


AccelerationReport = tuple[str, str, str]
"""(what was chosen, its value, the reason)."""

MAX_PACKED_PARAMETERS = 300_000_000
"""In the matrices of all layers. Beyond it a second copy of the frozen matrices takes too much memory."""


def accelerate(prepared_model: PreparedModel, *, device: str = "cpu") -> None:
    """Run the last layer for pooled tokens only, fuse activations and dropout, pack frozen matrices and fuse their low-rank
    updates (CPU), and attend to all texts in one kernel (GPU).

    May be called again after more was frozen. `device`: where the network will run; a meta model does not tell.
    """
    network, architecture = prepared_model.network, prepared_model.architecture
    if prepared_model.runtime.reads == "pooled" and prepared_model.runtime.pooled_last_layer is None:
        prepared_model.runtime.pooled_last_layer = last_layer.install_pooled_last_layer(network, architecture=architecture)
    kernels.fuse(network)
    fused_layers.fuse_layers(network)
    layers = network.get_submodule(architecture.layers)
    # Trainable matrices count too, so that training and prediction treat a network alike.
    if device == "cpu" and sum(map(kernels.count_matrix_weights, layers.modules())) <= MAX_PACKED_PARAMETERS:
        for module in filter(kernels.is_packable, layers.modules()):
            kernels.pack(module)
    if device == "cpu":
        fused_lora.fuse_lora(network)
    if device == "cuda" and _attends_by_length(prepared_model) and not _why_not_one_kernel(prepared_model):
        varlen.register()
        network.set_attn_implementation(varlen.NAME)


def _attends_by_length(prepared_model: PreparedModel) -> bool:
    """Whether attention runs once for every length of the texts in a row."""
    return bool(prepared_model.network.config._attn_implementation == packed.NAME)


def _why_not_one_kernel(prepared_model: PreparedModel) -> str:
    """Why a GPU cannot attend to all texts of a row in one kernel; empty when it can."""
    config = prepared_model.network.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if not prepared_model.runtime.bfloat16:
        return "the kernel for all texts at once needs bfloat16"
    if not varlen.is_usable(width):
        return f"the kernel for all texts at once does not support heads of {width} here, or gave wrong results when tested"
    return ""


def describe_acceleration(prepared_model: PreparedModel, *, device: str) -> list[AccelerationReport]:
    """Return what `accelerate` did to this network, with reasons."""
    lines: list[AccelerationReport] = []
    parts = ["the last layer only for the tokens the head reads"] if prepared_model.runtime.pooled_last_layer is not None else []
    kinds = {type(module) for module in prepared_model.network.modules()}
    one_pass = [name for name, kind in (("activations", nn.GELU), ("dropout", kernels.Dropout)) if kind in kinds]
    parts += [f"{' and '.join(one_pass)} in one pass over memory"] if one_pass else []
    if parts:
        lines.append(("fast.parts", "; ".join(parts), "it computes the same with less work"))
    if device == "cuda" and prepared_model.network.config._attn_implementation == varlen.NAME:
        lines.append(("fast.attention", "one kernel", "all texts of a row at once; it was tested and is right here"))
    elif device == "cuda" and _attends_by_length(prepared_model):
        lines.append(("fast.attention", "length by length", _why_not_one_kernel(prepared_model)))
    modules = list(prepared_model.network.get_submodule(prepared_model.architecture.layers).modules())
    copied = [module.weight for module in modules if kernels.is_packable(module)]
    if device == "cpu" and copied:
        num_weights = sum(map(kernels.count_matrix_weights, modules))
        size = units.format_bytes(sum(weight.numel() * weight.element_size() for weight in copied))
        copy, limit = f"{size} for a second copy of frozen matrices", f"{MAX_PACKED_PARAMETERS / 1e6:,.0f} million parameters"
        if num_weights <= MAX_PACKED_PARAMETERS:
            lines.append(("fast.copies", "on", f"{copy}, in the order the processor reads; for layers of up to {limit}"))
        else:
            reason = f"{copy} would be too much: the layers have {num_weights / 1e6:,.0f} million parameters, over {limit}"
            lines.append(("fast.copies", "off", reason))
    return lines
