"""The memory that a run takes, measured."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finewright.core.quiet import native_libraries_quiet
from finewright.models.size import held_bytes


@dataclass
class MemoryReading:
    """`peak_bytes`: the most that was held at once beyond what was held when the watch began; set when it ends."""

    peak_bytes: int = 0


@contextmanager
def measure_memory(device: str) -> Iterator[MemoryReading]:
    """Count what PyTorch's allocator hands out inside.

    On a CPU the profiler's memory events are added up, which costs up to half as much again as the work itself: watch a few
    steps, not all. What was held before and is given back inside is not counted, so a watch that begins between two steps
    reads the step alone.
    """
    reading = MemoryReading()
    if device == "cuda":
        import torch

        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield reading
        reading.peak_bytes = torch.cuda.max_memory_allocated() - before
        return
    gc.collect()  # else an earlier network may be let go of inside, which the profiler takes for an error and says
    with native_libraries_quiet(), _memory_events() as told:
        yield reading
    held = 0
    for event in sorted(told, key=lambda event: event.start_ns()):
        held += event.nbytes()
        reading.peak_bytes = max(reading.peak_bytes, held)


@contextmanager
def _memory_events() -> Iterator[list[Any]]:
    """What the profiler saw of memory; there when the watch is over."""
    told: list[Any] = []
    try:
        end = _begin_recording()
    except (ImportError, AttributeError, TypeError):  # what is private in PyTorch may be another in another version
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            yield told
        inner: Any = profiler.profiler
        told += _of_memory(inner.kineto_results)
        return
    try:
        yield told
    finally:
        told += _of_memory(end())


def _begin_recording() -> Callable[[], Any]:
    """Record memory alone. What `torch.profiler` offers would record every operation, which takes as long as a small network's,
    and load PyTorch's compiler first, for up to a second."""
    from torch._C._profiler import RecordScope
    from torch.autograd import _disable_profiler, _enable_profiler, _prepare_profiler
    from torch.autograd.profiler import profile

    asked: Any = profile(profile_memory=True)
    enable: Any = _enable_profiler  # PyTorch's own outline of it leaves out the kinds of operations
    _prepare_profiler(asked.config(), asked.kineto_activities)
    enable(asked.config(), asked.kineto_activities, {RecordScope.STATIC_RUNTIME_OP})  # of which there are none here
    return _disable_profiler


def _of_memory(recorded: Any) -> list[Any]:
    return [event for event in recorded.events() if event.name() == "[memory]"]


@contextmanager
def garbage_collection_settled() -> Iterator[None]:
    """Inside, collecting garbage, as every watch does first, walks past all that is there now: half a second saved."""
    frozen = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:  # else somebody around us wants it so
            gc.unfreeze()


class MemoryMeter:
    """The peak of a run, from the few updates and the one look at the validation split that are watched.

    `kept_bytes`: what is held besides for the whole run.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.peak_bytes = 0
        self.kept_bytes = 0
        self._held_bytes = 0

    def hold(self, trainable_module: Any, optimizer: Any) -> None:
        """Count `owner`'s weights and the optimizer's state as held from now on."""
        self._held_bytes = held_bytes(trainable_module, optimizer)

    def loaded(self, num_bytes: int) -> None:
        """So much was held when the weights had been read; a GPU gets them later, rounded."""
        if self.device != "cuda":
            self.peak_bytes = max(self.peak_bytes, num_bytes)

    @contextmanager
    def update(self, trainable_module: Any, optimizer: Any) -> Iterator[None]:
        """Watch an update of `owner`'s weights, from where it has let go of the gradients of the one before."""
        optimizer.zero_grad(set_to_none=True)  # given back inside they would be taken off what the update itself needs
        self._held_bytes = held_bytes(trainable_module, optimizer)
        with self.look():
            yield
        self._held_bytes = held_bytes(trainable_module, optimizer)

    @contextmanager
    def look(self) -> Iterator[None]:
        """Watch work between updates, when weights and the optimizer's state are held."""
        with measure_memory(self.device) as reading:
            yield
        self.peak_bytes = max(self.peak_bytes, self.kept_bytes + self._held_bytes + reading.peak_bytes)
