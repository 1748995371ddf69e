"""What makes a prepared network fast without changing what it computes, applied in one place.

The same is done to the network that is trained, to its sketch without memory, and to what is loaded again to predict: so the
plan is that of the step that runs, and scores after loading are those before saving, bit for bit.
"""

from collections.abc import Iterator

import torch
from torch import nn

from finewright.core import units
from finewright.core.errors import UserError
from finewright.models import kernels, last_layer, prepared
from finewright.models.attention import packed, varlen
from finewright.models.kernels import PackedWeight
from finewright.models.prepared import PreparedModel

BACKEND = "inductor"


def compiled_parts(prepared_model: PreparedModel) -> Iterator[torch.nn.Module]:
    """Modules to compile: of each block all but attention, which has other shapes for every row.

    The last block, where it runs for few tokens only, is left out, and so is what hooks look into.
    """
    blocks = list(prepared_model.network.get_submodule(prepared_model.architecture.layers))
    attention = prepared_model.architecture.attention.partition(".")[0]
    for block in blocks if prepared_model.pooled_last_layer is None else blocks[:-1]:
        for name, part in block.named_children():
            inside = list(part.modules())
            if name != attention and not any(
                isinstance(getattr(one, "packed", None), PackedWeight) or _has_hooks(one) for one in inside
            ):
                yield part


def _has_hooks(module: torch.nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def start_compiling(prepared_model: PreparedModel) -> list[str]:
    """Compile when first run, for rows of any length; what there is to tell. A `UserError` where nothing can be compiled here."""
    chosen = list(compiled_parts(prepared_model))
    if not chosen:
        return ["training.compile: nothing is compiled, all that could be is packed, has hooks, or runs for few tokens only"]
    _try(next(prepared_model.network.parameters()).device)
    for part in chosen:
        part.compile(backend=BACKEND, dynamic=True)
    return [f"training.compile: {len(chosen)} parts of the blocks are compiled when they run for the first time"]


def _try(device: torch.device) -> None:
    try:
        torch.compile(lambda states: states.tanh() + 1, backend=BACKEND)(torch.zeros(3, device=device))
    except Exception as error:  # the compiler's own errors have no common name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = f"PyTorch cannot compile here ({reason})"
        raise UserError(what, where="training.compile", fix="leave it off, inside a run with --change compile=off") from None


def stop_compiling(prepared_model: PreparedModel) -> None:
    """From here on the plain modules run, as they do when the network is loaded again."""
    for module in prepared_model.network.modules():
        module._compiled_call_impl = None


def freeze_for_inference(prepared_model: PreparedModel, *, device: str = "cpu") -> None:
    """End training: the network takes the form, kernels included, in which `models.reload` brings it back.

    A whole model is frozen like any other then; an adapter's own matrices stay as they were trained.
    """
    stop_compiling(prepared_model)
    if prepared_model.trainable_module is prepared_model.network:
        prepared_model.network.requires_grad_(False)
    if prepared_model.bfloat16:
        prepared.use_bfloat16(prepared_model)
    accelerate(prepared_model, device=device)
    prepared_model.trainable_module.requires_grad_(False)
    prepared_model.trainable_module.eval()


AccelerationReport = tuple[str, str, str]
"""What was chosen, its value, the reason."""

MOST_PACKED_NUMBERS = 300_000_000
"""In the matrices of all blocks; with more of them a second copy of the frozen ones would take the memory that matters."""


def accelerate(prepared_model: PreparedModel, *, device: str = "cpu") -> None:
    """The last block where the head reads only, activations and dropout in one pass; on a CPU products with frozen matrices
    packed, on a GPU attention in one kernel.

    May be called again when more was frozen. `device`: where the network will run; a sketch lies nowhere.
    """
    network, architecture = prepared_model.network, prepared_model.architecture
    if prepared_model.pooled_last_layer is None:
        prepared_model.pooled_last_layer = last_layer.install_pooled_last_layer(network, architecture=architecture)
    kernels.fuse(network)
    blocks = network.get_submodule(architecture.layers)
    # Counted whether frozen or not, so that a network is treated alike while it is trained and when it is loaded again.
    if device == "cpu" and sum(map(kernels.count_numbers, blocks.modules())) <= MOST_PACKED_NUMBERS:
        for module in filter(kernels.is_packable, blocks.modules()):
            kernels.pack(module)
    if device == "cuda" and _in_length_groups(prepared_model) and not _why_not_at_once(prepared_model):
        varlen.register()
        network.set_attn_implementation(varlen.NAME)


def _in_length_groups(prepared_model: PreparedModel) -> bool:
    """Whether the texts of a row are attended to length by length."""
    return bool(prepared_model.network.config._attn_implementation == packed.NAME)


def _why_not_at_once(prepared_model: PreparedModel) -> str:
    """Why a GPU cannot attend to all texts of a row in one kernel; empty when it can."""
    config = prepared_model.network.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if not prepared_model.bfloat16:
        return "the kernel for all texts at once is for bfloat16"
    if not varlen.is_usable(width):
        return f"the kernel for all texts at once is not there for heads of {width}, or was not right when tried"
    return ""


def describe_acceleration(prepared_model: PreparedModel, *, device: str) -> list[AccelerationReport]:
    """What `apply` did to this sketch, with reasons; nothing of what it has no place for."""
    lines: list[AccelerationReport] = []
    parts = ["the last block only where the head reads"] if prepared_model.pooled_last_layer is not None else []
    kinds = {type(module) for module in prepared_model.network.modules()}
    one_pass = [name for name, kind in (("activations", nn.GELU), ("dropout", kernels.Dropout)) if kind in kinds]
    parts += [f"{' and '.join(one_pass)} in one pass over memory"] if one_pass else []
    if parts:
        lines.append(("fast.parts", "; ".join(parts), "it computes the same with less work"))
    if device == "cuda" and prepared_model.network.config._attn_implementation == varlen.NAME:
        lines.append(("fast.attention", "one kernel", "all texts of a row at once; it was tried and is right here"))
    elif device == "cuda" and _in_length_groups(prepared_model):
        lines.append(("fast.attention", "length by length", _why_not_at_once(prepared_model)))
    matrices = list(prepared_model.network.get_submodule(prepared_model.architecture.layers).modules())
    copied = [module.weight for module in matrices if kernels.is_packable(module)]
    if device == "cpu" and copied:
        numbers = sum(map(kernels.count_numbers, matrices))
        size = units.format_bytes(sum(weight.numel() * weight.element_size() for weight in copied))
        again, most = f"{size} of frozen matrices once more", f"{MOST_PACKED_NUMBERS / 1e6:,.0f} million numbers"
        if numbers <= MOST_PACKED_NUMBERS:
            lines.append(("fast.copies", "on", f"{again}, in the order the processor reads; for blocks of up to {most}"))
        else:
            reason = f"{again} would be too much: the blocks have {numbers / 1e6:,.0f} million numbers, over {most}"
            lines.append(("fast.copies", "off", reason))
    return lines
