"""One CPU thread for little work: several would mostly wait for each other."""

import contextlib
from collections.abc import Iterator

import torch

SMALL_WORK = 1_000_000_000
"""Tokens times parameters below which one thread is used: some tens of milliseconds on one core, which more threads could at most
divide, while on a busy machine they wait at every product for a thread that does not run."""


@contextlib.contextmanager
def threads_for_work(num_tokens: int, num_parameters: int) -> Iterator[None]:
    """Inside, PyTorch uses one thread if the work is small; afterwards as many as before."""
    threads = torch.get_num_threads()
    small = num_tokens * num_parameters < SMALL_WORK
    if small and threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small and threads > 1:
            torch.set_num_threads(threads)
