"""How much memory work really takes: what the allocator hands out, counted while the work runs; and sizes in words."""

import gc
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from finewright.errors import UserError, is_out_of_memory

T = TypeVar("T")

_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MOST_BYTES = 1e18
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def parse_size(text: str) -> int:
    """`8GB` → 8,000,000,000 bytes, `8GiB` → 8,589,934,592; anything without a known unit is a `UserError`."""
    found = _SIZE.fullmatch(text)
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    if found and found[2].lower() in units and 1 <= (size := float(found[1]) * units[found[2].lower()]) < _MOST_BYTES:
        return round(size)
    raise UserError(
        f"wanted a size above zero with its unit, found {text[:40]!r}",
        where="budget",
        fix=f"for instance 8GB; units: {', '.join(_UNITS)}",
    )


def in_words(count: float, *, at_least: bool = False) -> str:
    """Bytes as a person says them: `7.95 GB`, `312 MB`. `at_least`: never fewer than there are, and as `parse_size` reads it."""
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)):
        value = count / size
        digits = 0 if value >= 100 or unit == "kB" else 2 if value < 10 else 1
        value = math.ceil(value * 10**digits) / 10**digits if at_least else round(value, digits)
        if abs(value) < 1000 or unit == "TB":
            return f"{value:{'' if at_least else ','}.{digits}f} {unit}"
    raise AssertionError("every count has a unit")


def exactly(count: float) -> str:
    """Bytes as `parse_size` reads them back."""
    return f"{count / 1e3:.3f}kB"


def attempt(work: Callable[[], T]) -> T | None:
    """What comes of the work; None when memory ran out, and then nothing that it made is held any more."""
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return None  # outside the block above: there the error still holds every tensor of the failed work


def insist(work: Callable[[], Any], *, otherwise: UserError) -> None:
    """Do work that must not be tried twice; `otherwise` is raised when memory runs out in it."""
    if attempt(lambda: (work(),)) is None:
        raise otherwise


def _scales(parameter: Any) -> Iterator[Any]:
    """What bitsandbytes keeps beside a packed matrix, where no list of parameters or buffers shows it."""
    state = getattr(parameter, "quant_state", None)
    while state is not None:
        yield from (tensor for tensor in (state.absmax, state.code, state.offset) if tensor is not None)
        state = state.state2


def give_back(device: str) -> None:
    """Let go of what nobody holds any more, so that others can have it."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()


def held_bytes(owner: Any, optimizer: Any = None) -> int:
    """Bytes of a network's weights and of its optimizer's state, shared tensors counted once, and packed copies."""
    import torch

    kept = () if optimizer is None else optimizer.state.values()
    states = [value for state in kept for value in state.values() if isinstance(value, torch.Tensor)]
    parameters = list(owner.parameters())
    tensors = [*parameters, *owner.buffers(), *states, *(tensor for one in parameters for tensor in _scales(one))]
    packed = sum(getattr(module, "packed_bytes", 0) for module in owner.modules())
    return packed + sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


@dataclass
class Reading:
    """`peak_bytes`: the most that was held at once beyond what was held when the watch began; set when it ends."""

    peak_bytes: int = 0


@contextmanager
def watch(device: str) -> Iterator[Reading]:
    """Count what PyTorch's allocator hands out inside.

    On a CPU the profiler's memory events are added up, which costs up to half as much again as the work itself: watch a few
    steps, not all. What was held before and is given back inside is not counted, so a watch that begins between two steps
    reads the step alone.
    """
    reading = Reading()
    if device == "cuda":
        import torch

        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield reading
        reading.peak_bytes = torch.cuda.max_memory_allocated() - before
        return
    gc.collect()  # else an earlier network may be let go of inside, which the profiler takes for an error and says
    with _memory_events() as told:
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
def settled() -> Iterator[None]:
    """Inside, collecting garbage, as every watch does first, walks past all that is there now: half a second saved."""
    frozen = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:  # else somebody around us wants it so
            gc.unfreeze()


class Meter:
    """The peak of a run, from the few updates and the one look at the validation split that are watched.

    `kept_bytes`: what is held besides for the whole run.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.peak_bytes = 0
        self.kept_bytes = 0
        self._held_bytes = 0

    def hold(self, owner: Any, optimizer: Any) -> None:
        """Count `owner`'s weights and the optimizer's state as held from now on."""
        self._held_bytes = held_bytes(owner, optimizer)

    def loaded(self, num_bytes: int) -> None:
        """So much was held when the weights had been read; a GPU gets them later, rounded."""
        if self.device != "cuda":
            self.peak_bytes = max(self.peak_bytes, num_bytes)

    @contextmanager
    def update(self, owner: Any, optimizer: Any) -> Iterator[None]:
        """Watch an update of `owner`'s weights, from where it has let go of the gradients of the one before."""
        optimizer.zero_grad(set_to_none=True)  # given back inside they would be taken off what the update itself needs
        self._held_bytes = held_bytes(owner, optimizer)
        with self.look():
            yield
        self._held_bytes = held_bytes(owner, optimizer)

    @contextmanager
    def look(self) -> Iterator[None]:
        """Watch work between updates, when weights and the optimizer's state are held."""
        with watch(self.device) as reading:
            yield
        self.peak_bytes = max(self.peak_bytes, self.kept_bytes + self._held_bytes + reading.peak_bytes)
