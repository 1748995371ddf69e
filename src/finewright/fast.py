"""What makes a prepared network fast without changing what it computes, applied in one place.

The same is done to the network that is trained, to its sketch without memory, and to what is loaded again to predict: so the
plan is that of the step that runs, and scores after loading are those before saving, bit for bit.
"""

from torch import nn

from finewright import attention, flash, kernels, memory, narrow
from finewright.tuned import Tuned

Told = tuple[str, str, str]
"""What was chosen, its value, the reason."""

MOST_PACKED_NUMBERS = 300_000_000
"""In the matrices of all blocks; with more of them a second copy of the frozen ones would take the memory that matters."""


def apply(tuned: Tuned, *, device: str = "cpu") -> None:
    """The last block where the head reads only, activations and dropout in one pass; on a CPU products with frozen matrices
    packed, on a GPU attention in one kernel.

    May be called again when more was frozen. `device`: where the network will run; a sketch lies nowhere.
    """
    network, anatomy = tuned.network, tuned.anatomy
    if tuned.last_block is None:
        tuned.last_block = narrow.install(network, anatomy=anatomy)
    kernels.fuse(network)
    blocks = network.get_submodule(anatomy.blocks)
    # Counted whether frozen or not, so that a network is treated alike while it is trained and when it is loaded again.
    if device == "cpu" and sum(map(kernels.num_numbers, blocks.modules())) <= MOST_PACKED_NUMBERS:
        for module in filter(kernels.is_packable, blocks.modules()):
            kernels.pack(module)
    if device == "cuda" and _in_length_groups(tuned) and not _why_not_at_once(tuned):
        flash.register()
        network.set_attn_implementation(flash.NAME)


def _in_length_groups(tuned: Tuned) -> bool:
    """Whether the texts of a row are attended to length by length."""
    return bool(tuned.network.config._attn_implementation == attention.NAME)


def _why_not_at_once(tuned: Tuned) -> str:
    """Why a GPU cannot attend to all texts of a row in one kernel; empty when it can."""
    config = tuned.network.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if not tuned.bfloat16:
        return "the kernel for all texts at once is for bfloat16"
    if not flash.works(width):
        return f"the kernel for all texts at once is not there for heads of {width}, or was not right when tried"
    return ""


def told(tuned: Tuned, *, device: str) -> list[Told]:
    """What `apply` did to this sketch, with reasons; nothing of what it has no place for."""
    lines: list[Told] = []
    parts = ["the last block only where the head reads"] if tuned.last_block is not None else []
    kinds = {type(module) for module in tuned.network.modules()}
    one_pass = [name for name, kind in (("activations", nn.GELU), ("dropout", kernels.Dropout)) if kind in kinds]
    parts += [f"{' and '.join(one_pass)} in one pass over memory"] if one_pass else []
    if parts:
        lines.append(("fast.parts", "; ".join(parts), "it computes the same with less work"))
    if device == "cuda" and tuned.network.config._attn_implementation == flash.NAME:
        lines.append(("fast.attention", "one kernel", "all texts of a row at once; it was tried and is right here"))
    elif device == "cuda" and _in_length_groups(tuned):
        lines.append(("fast.attention", "length by length", _why_not_at_once(tuned)))
    matrices = list(tuned.network.get_submodule(tuned.anatomy.blocks).modules())
    copied = [module.weight for module in matrices if kernels.is_packable(module)]
    if device == "cpu" and copied:
        numbers = sum(map(kernels.num_numbers, matrices))
        size = memory.in_words(sum(weight.numel() * weight.element_size() for weight in copied))
        again, most = f"{size} of frozen matrices once more", f"{MOST_PACKED_NUMBERS / 1e6:,.0f} million numbers"
        if numbers <= MOST_PACKED_NUMBERS:
            lines.append(("fast.copies", "on", f"{again}, in the order the processor reads; for blocks of up to {most}"))
        else:
            reason = f"{again} would be too much: the blocks have {numbers / 1e6:,.0f} million numbers, over {most}"
            lines.append(("fast.copies", "off", reason))
    return lines
