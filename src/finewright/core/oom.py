"""Work that may run out of memory."""

import gc
from collections.abc import Callable
from typing import Any

from finewright.core.errors import UserError, is_out_of_memory
from finewright.core.units import T


def run_or_none(work: Callable[[], T]) -> T | None:
    """Return the result of the work, or None if memory ran out; then nothing that it made stays in memory."""
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return None  # outside the block above, where the error still refers to every tensor of the failed work


def run_or_raise(work: Callable[[], Any], *, otherwise: UserError) -> None:
    """Do work that must not be repeated. Raise `otherwise` if memory runs out."""
    if run_or_none(lambda: (work(),)) is None:
        raise otherwise


def release_memory(device: str) -> None:
    """Collect garbage and return the cached memory of the device."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
