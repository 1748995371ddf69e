"""What lies between attention and attention, compiled by PyTorch: fewer passes over memory, after a slow start.

For GPUs. On a CPU products with packed matrices stay out of it, and what is left gains nothing (`docs/log.md`).
"""

from collections.abc import Iterator

import torch

from finewright.errors import UserError
from finewright.kernels import Packed
from finewright.tuned import Tuned

BACKEND = "inductor"


def parts(tuned: Tuned) -> Iterator[torch.nn.Module]:
    """Modules to compile: of each block all but attention, which has other shapes for every row.

    The last block, where it runs for few tokens only, is left out, and so is what hooks look into.
    """
    blocks = list(tuned.network.get_submodule(tuned.anatomy.blocks))
    attention = tuned.anatomy.attention.partition(".")[0]
    for block in blocks if tuned.last_block is None else blocks[:-1]:
        for name, part in block.named_children():
            inside = list(part.modules())
            if name != attention and not any(
                isinstance(getattr(one, "packed", None), Packed) or _has_hooks(one) for one in inside
            ):
                yield part


def _has_hooks(module: torch.nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def begin(tuned: Tuned) -> list[str]:
    """Compile when first run, for rows of any length; what there is to tell. A `UserError` where nothing can be compiled here."""
    chosen = list(parts(tuned))
    if not chosen:
        return ["train.compile: nothing is compiled, all that could be is packed, has hooks, or runs for few tokens only"]
    _try(next(tuned.network.parameters()).device)
    for part in chosen:
        part.compile(backend=BACKEND, dynamic=True)
    return [f"train.compile: {len(chosen)} parts of the blocks are compiled when they run for the first time"]


def _try(device: torch.device) -> None:
    try:
        torch.compile(lambda states: states.tanh() + 1, backend=BACKEND)(torch.zeros(3, device=device))
    except Exception as error:  # the compiler's own errors have no common name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = f"PyTorch cannot compile here ({reason})"
        raise UserError(what, where="train.compile", fix="leave it off, inside a run with --change compile=off") from None


def end(tuned: Tuned) -> None:
    """From here on the plain modules run, as they do when the network is loaded again."""
    for module in tuned.network.modules():
        module._compiled_call_impl = None
