"""A deep network, traced by a few of its layers: of equal ones five run, and the trace of the middle one is repeated.

The repetition is exact, not an estimate: equal layers make the same tensors in the same order, forward and backward.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import nn

from finewright.models.prepared import PreparedModel
from finewright.planning.tracer.memory import MemoryTracer, Segment

KEPT = 5
"""Of a run of equal layers: the one to repeat, an equal neighbour on both sides, and the two at the ends, which may differ."""
_WORDS = ("approach", "start", "stop", "horizon")


@dataclass
class LayerRun:
    """A run of equal layers of which five are kept. The trace of the middle one counts `num_missing` more times."""

    kept: list[nn.Module]
    num_missing: int
    marks: list[tuple[str, int]] = field(default_factory=list)

    @property
    def middle(self) -> nn.Module:
        """The layer whose trace is repeated."""
        return self.kept[KEPT // 2]


@contextmanager
def shortened(prepared_model: PreparedModel) -> Iterator[list[LayerRun]]:
    """Inside, the network has only KEPT layers of every run of equal ones; afterwards it has all again."""
    blocks: Any = prepared_model.network.get_submodule(prepared_model.architecture.layers)
    parent_name, _, name = prepared_model.architecture.layers.rpartition(".")
    parent = prepared_model.network.get_submodule(parent_name)
    runs, kept = [], []
    for _, group in groupby(list(blocks), key=lambda block: (_signature(block), _is_cached(prepared_model, block))):
        equal = list(group)
        num_equal = len(equal)
        if num_equal > KEPT:
            equal = [*equal[: KEPT - 1], equal[-1]]
            runs.append(LayerRun(equal, num_equal - KEPT))
        kept += equal
    if not runs:
        yield []
        return
    setattr(parent, name, nn.ModuleList(kept))
    try:
        yield runs
    finally:
        setattr(parent, name, blocks)


def _is_cached(prepared_model: PreparedModel, block: nn.Module) -> bool:
    """Return whether a layer does not run in training because its output is cached."""
    return prepared_model.runtime.frozen_prefix is not None and prepared_model.runtime.frozen_prefix.holds(block)


def _signature(block: nn.Module) -> tuple[Any, ...]:
    # Each parametrized module has a class of its own, so compare names.
    parts = tuple((name, type(module).__name__) for name, module in block.named_modules())
    return parts, tuple((n, p.shape, p.dtype, p.requires_grad) for n, p in block.named_parameters())


@contextmanager
def marked(prepared_model: PreparedModel, runs: list[LayerRun], tracer: MemoryTracer) -> Iterator[None]:
    """Inside, the tracer records where the middle layer of every run begins and ends, forward and backward."""
    is_forward = [True]
    handles = [
        prepared_model.network.get_input_embeddings().register_forward_pre_hook(lambda *_: is_forward.__setitem__(0, True))
    ]

    def on_forward(run: LayerRun, word: str) -> Any:
        return lambda *_: run.marks.append((word, tracer.mark())) if is_forward[0] else None

    def on_output(run: LayerRun, word: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else output
            if is_forward[0] and state.requires_grad:  # a layer that is recomputed in the backward pass is not a new one
                state.register_hook(lambda gradient: on_gradient(run, word))

        return hook

    def on_gradient(run: LayerRun, word: str) -> None:
        is_forward[0] = False
        run.marks.append((word, tracer.mark()))

    for run in runs:
        for word, forward, backward in zip(_WORDS, run.kept[1:], run.kept[3::-1], strict=True):
            handles.append(forward.register_forward_pre_hook(on_forward(run, word)))
            handles.append(backward.register_forward_hook(on_output(run, f"{word} back")))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def segments(runs: list[LayerRun]) -> list[Segment]:
    """Return the segments of the trace to repeat."""
    found = []
    for run in runs:
        for direction in ("", " back"):
            places = [[mark for word, mark in run.marks if word == wanted + direction] for wanted in _WORDS]
            found += [Segment(*marks, times=run.num_missing) for marks in zip(*places, strict=True)]
    return sorted(found, key=lambda segment: segment.start)


def missing_numbers(
    runs: list[LayerRun], tracer: MemoryTracer, optimizer: torch.optim.Optimizer | None
) -> list[tuple[int, str, int]]:
    """Return (storage, kind, how many more there are) of the weights and optimizer state of the layers that do not run."""
    found = []
    for run in runs:
        tensors = [(tensor, "weights") for tensor in [*run.middle.parameters(), *run.middle.buffers()]]
        if optimizer is not None:
            states = [optimizer.state[parameter] for parameter in run.middle.parameters() if parameter in optimizer.state]
            tensors += [(value, "optimizer") for state in states for value in state.values() if isinstance(value, torch.Tensor)]
        found += [(tracer.number(tensor), kind, run.num_missing) for tensor, kind in tensors]
    return found


def num_missing_trainable(runs: list[LayerRun]) -> int:
    """Return the trained parameters in the layers that do not run."""
    return sum(run.num_missing * sum(p.numel() for p in run.middle.parameters() if p.requires_grad) for run in runs)
