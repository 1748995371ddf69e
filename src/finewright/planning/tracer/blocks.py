"""A deep network traced by a few of its blocks: of equal ones five are run, and what the middle one does is told again.

What is told again is exact, not estimated: equal blocks make the same tensors in the same order, on the way there and back.
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
"""Of a run of equal blocks: one for all, a neighbour on both sides that does as it does, and the two at the ends, which
may do otherwise."""
_WORDS = ("approach", "start", "stop", "horizon")


@dataclass
class LayerRun:
    """A run of equal blocks, of which five are kept: the middle one is told `num_missing` times more than it is run."""

    kept: list[nn.Module]
    num_missing: int
    marks: list[tuple[str, int]] = field(default_factory=list)

    @property
    def middle(self) -> nn.Module:
        """The block that stands for all."""
        return self.kept[KEPT // 2]


@contextmanager
def shortened(prepared_model: PreparedModel) -> Iterator[list[LayerRun]]:
    """Inside, the network has but KEPT blocks of every run of equal ones; afterwards it has all again."""
    blocks: Any = prepared_model.network.get_submodule(prepared_model.architecture.layers)
    parent_name, _, name = prepared_model.architecture.layers.rpartition(".")
    parent = prepared_model.network.get_submodule(parent_name)
    runs, kept = [], []
    for _, group in groupby(list(blocks), key=lambda block: (_signature(block), _is_kept(prepared_model, block))):
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


def _is_kept(prepared_model: PreparedModel, block: nn.Module) -> bool:
    """Whether a block does not run in training because its outcome is kept."""
    return prepared_model.runtime.frozen_prefix is not None and prepared_model.runtime.frozen_prefix.holds(block)


def _signature(block: nn.Module) -> tuple[Any, ...]:
    # A parametrized module has a class of its own, with the name of its kind.
    parts = tuple((name, type(module).__name__) for name, module in block.named_modules())
    return parts, tuple((n, p.shape, p.dtype, p.requires_grad) for n, p in block.named_parameters())


@contextmanager
def marked(prepared_model: PreparedModel, runs: list[LayerRun], ledger: MemoryTracer) -> Iterator[None]:
    """Inside, the ledger learns where the middle block of every run begins and ends, on the way there and back."""
    going = [True]
    handles = [prepared_model.network.get_input_embeddings().register_forward_pre_hook(lambda *_: going.__setitem__(0, True))]

    def reached(run: LayerRun, word: str) -> Any:
        return lambda *_: run.marks.append((word, ledger.mark())) if going[0] else None

    def awaits(run: LayerRun, word: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else output
            if going[0] and state.requires_grad:  # a block that is computed again on the way back is no new one
                state.register_hook(lambda gradient: arrived(run, word))

        return hook

    def arrived(run: LayerRun, word: str) -> None:
        going[0] = False
        run.marks.append((word, ledger.mark()))

    for run in runs:
        for word, there, back in zip(_WORDS, run.kept[1:], run.kept[3::-1], strict=True):
            handles.append(there.register_forward_pre_hook(reached(run, word)))
            handles.append(back.register_forward_hook(awaits(run, f"{word} back")))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def segments(runs: list[LayerRun]) -> list[Segment]:
    """The stretches of the ledger that are told again."""
    found = []
    for run in runs:
        for way in ("", " back"):
            places = [[mark for word, mark in run.marks if word == wanted + way] for wanted in _WORDS]
            found += [Segment(*marks, times=run.num_missing) for marks in zip(*places, strict=True)]
    return sorted(found, key=lambda segment: segment.start)


def missing_numbers(
    runs: list[LayerRun], ledger: MemoryTracer, optimizer: torch.optim.Optimizer | None
) -> list[tuple[int, str, int]]:
    """(storage, kind, how many more of it there are) of the weights and the optimizer's state of what is not run."""
    found = []
    for run in runs:
        tensors = [(tensor, "weights") for tensor in [*run.middle.parameters(), *run.middle.buffers()]]
        if optimizer is not None:
            states = [optimizer.state[parameter] for parameter in run.middle.parameters() if parameter in optimizer.state]
            tensors += [(value, "optimizer") for state in states for value in state.values() if isinstance(value, torch.Tensor)]
        found += [(ledger.number(tensor), kind, run.num_missing) for tensor, kind in tensors]
    return found


def num_missing_trainable(runs: list[LayerRun]) -> int:
    """Trained numbers in the blocks that are not run."""
    return sum(run.num_missing * sum(p.numel() for p in run.middle.parameters() if p.requires_grad) for run in runs)
