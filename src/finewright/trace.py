"""What work would cost: it runs on tensors without memory, and what would have been alive is counted.

The tensors are fake (shapes and dtypes, no numbers), so a model of any size is traced in seconds from its config alone.
"""

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

ALIGNMENT = 64
"""Bytes an allocator rounds a tensor up to (CPU; CUDA's caching allocator uses 512)."""
_VIEWS = ("view", "as_strided", "transpose", "expand", "permute", "slice", "select", "split", "detach", "alias", "unsqueeze", "t")


@dataclass
class Work:
    """Operations of one traced piece of work. `matmul_flops` by dtype; `moved_bytes`: read and written by all others."""

    matmul_flops: Counter[str] = field(default_factory=Counter)
    moved_bytes: int = 0
    num_operations: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add counted as two."""
        return sum(self.matmul_flops.values())


class Ledger(TorchDispatchMode):
    """Counts storages that are alive, and what is done with them."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.events: list[tuple[int, int]] = []
        self.work = Work()
        self._numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._flops = FlopCounterMode(display=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at what it made."""
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return True if args[0].dtype == torch.bool else 1.0 if args[0].is_floating_point() else 1
        made = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        for tensor in outputs:
            self.number(tensor)
        self._count(func, args, kwargs, made, outputs)
        return made

    def number(self, tensor: torch.Tensor) -> int:
        """The number of a tensor's storage; a storage seen for the first time is alive from now on."""
        storage = tensor.untyped_storage()
        if storage not in self._numbers:
            number = self._numbers[storage] = len(self.sizes)
            self.sizes.append(math.ceil(storage.nbytes() / ALIGNMENT) * ALIGNMENT)
            self.events.append((1, number))
            weakref.finalize(storage, self.events.append, (-1, number))
        return self._numbers[storage]

    def _count(self, func: Any, args: Any, kwargs: Any, made: Any, outputs: list[torch.Tensor]) -> None:
        name = func.overloadpacket.__name__
        if name in _VIEWS or name.startswith("_unsafe_view"):
            return
        self.work.num_operations += 1
        count = self._flops.flop_registry.get(func.overloadpacket)
        if count is not None:
            dtype = str(outputs[0].dtype).removeprefix("torch.")
            self.work.matmul_flops[dtype] += count(*args, **kwargs, out_val=made)
            return
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        self.work.moved_bytes += sum(tensor.numel() * tensor.element_size() for tensor in [*inputs, *outputs])

    def peak(self, kinds: dict[str, set[int]], *, rest: str) -> dict[str, int]:
        """Bytes by kind at the moment when the sum was largest; storages in none of `kinds` count as `rest`."""
        kind_of = {number: kind for kind, numbers in kinds.items() for number in numbers}
        now = dict.fromkeys([*kinds, rest], 0)
        best, total, most = dict(now), 0, -1
        for sign, number in self.events:
            now[kind_of.get(number, rest)] += sign * self.sizes[number]
            total += sign * self.sizes[number]
            if total > most:
                most, best = total, dict(now)
        return best


@contextmanager
def without_memory() -> Iterator[Ledger]:
    """Inside, every new tensor is fake and every operation is counted."""
    ledger = Ledger()
    with FakeTensorMode(), ledger:
        yield ledger


def work_of(ledger: Ledger, run: Callable[[], Any]) -> Work:
    """What `run` does, traced inside `without_memory`."""
    before, ledger.work = ledger.work, Work()
    run()
    found, ledger.work = ledger.work, before
    return found


def give_shapes(module: torch.nn.Module) -> dict[int, torch.nn.Parameter]:
    """Put fake tensors in the place of a module's meta tensors, shared ones shared; old parameters' ids → new ones.

    Called inside `without_memory`. The module is built and prepared on the meta device, because PyTorch cannot cast or
    move a module whose parameters are fake.
    """
    made: dict[int, Any] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and id(parameter) not in made:
                fake = torch.empty(parameter.shape, dtype=parameter.dtype)
                made[id(parameter)] = torch.nn.Parameter(fake, requires_grad=parameter.requires_grad)
            if parameter is not None:
                part._parameters[name] = made[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return made
