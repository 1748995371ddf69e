"""Work that may run out of memory."""

import gc
from collections.abc import Callable
from typing import Any

from finewright.core.errors import UserError, is_out_of_memory
from finewright.core.units import T


def run_or_none(work: Callable[[], T]) -> T | None:
    """What comes of the work; None when memory ran out, and then nothing that it made is held any more."""
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return None  # outside the block above: there the error still holds every tensor of the failed work


def run_or_raise(work: Callable[[], Any], *, otherwise: UserError) -> None:
    """Do work that must not be tried twice; `otherwise` is raised when memory runs out in it."""
    if run_or_none(lambda: (work(),)) is None:
        raise otherwise


def release_memory(device: str) -> None:
    """Let go of what nobody holds any more, so that others can have it."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
