"""Measure the memory that a run needs."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finewright.core.quiet import native_libraries_quiet
from finewright.models import torch_compat
from finewright.models.size import held_bytes


@dataclass
class MemoryReading:
    """`peak_bytes`: peak of allocated memory above that at the start of the measurement; set at its end."""

    peak_bytes: int = 0


@contextmanager
def measure_memory(device: str) -> Iterator[MemoryReading]:
    """Measure what PyTorch's allocator allocates inside.

    On a CPU this adds up the profiler's memory events, which makes the work up to 50% slower: measure a few steps, not
    all. Memory that was allocated before and is freed inside is not counted, so a measurement that starts between two
    steps covers the step alone.
    """
    reading = MemoryReading()
    if device == "cuda":
        import torch

        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield reading
        reading.peak_bytes = torch.cuda.max_memory_allocated() - before
        return
    gc.collect()  # an earlier network freed inside makes the profiler print an error
    with native_libraries_quiet(), _memory_events() as events:
        yield reading
    allocated = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        reading.peak_bytes = max(reading.peak_bytes, allocated)


@contextmanager
def _memory_events() -> Iterator[list[Any]]:
    """Yield a list that holds the profiler's memory events after exit."""
    events: list[Any] = []
    end = torch_compat.record_memory()
    if end is None:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            yield events
        inner: Any = profiler.profiler
        events += _select_memory_events(inner.kineto_results)
        return
    try:
        yield events
    finally:
        events += _select_memory_events(end())


def _select_memory_events(recorded: Any) -> list[Any]:
    return [event for event in recorded.events() if event.name() == "[memory]"]


@contextmanager
def garbage_collection_settled() -> Iterator[None]:
    """Exclude all present objects from garbage collection inside. Each measurement starts with one, which saves half a second."""
    frozen = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:  # otherwise a caller froze the objects
            gc.unfreeze()


class MemoryMeter:
    """Peak memory of a run, from a few measured updates and one measured evaluation of the validation split.

    `cache_bytes`: memory of the frozen-layer cache, allocated for the whole run.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.peak_bytes = 0
        self.cache_bytes = 0
        self._allocated_bytes = 0

    def hold(self, trainable_module: Any, optimizer: Any = None) -> None:
        """Count the module's weights and the optimizer's state, if there is one yet, from now on."""
        self._allocated_bytes = held_bytes(trainable_module, optimizer)

    def loaded(self, num_bytes: int) -> None:
        """Record the memory that was allocated while the weights were read. A GPU gets them later, so it is not counted there."""
        if self.device != "cuda":
            self.peak_bytes = max(self.peak_bytes, num_bytes)

    @contextmanager
    def update(self, trainable_module: Any, optimizer: Any) -> Iterator[None]:
        """Measure an update, starting after the gradients of the previous one are freed."""
        optimizer.zero_grad(set_to_none=True)  # freed inside, they would be subtracted from the update's peak
        self._allocated_bytes = held_bytes(trainable_module, optimizer)
        with self.measure():
            yield
        self._allocated_bytes = held_bytes(trainable_module, optimizer)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure work between updates, while weights and the optimizer's state are allocated."""
        with measure_memory(self.device) as reading:
            yield
        self.peak_bytes = max(self.peak_bytes, self.cache_bytes + self._allocated_bytes + reading.peak_bytes)
