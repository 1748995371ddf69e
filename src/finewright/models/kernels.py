"""Faster modules with the same results: products with frozen matrices, activations, dropout.

Shape suffixes: T tokens, I inputs, O outputs of a matrix.
"""

import copy
from typing import Any

import torch
from torch import nn
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.pytorch_utils import Conv1D

from finewright.models import torch_compat
from finewright.models.torch_compat import can_pack

_STEPS = 1 << 16


class DropoutMask:
    """The random masks of one dropout, sampled one after the other; `replay` samples the same ones again.

    64 random bits serve four elements, which on a CPU is 2.5 times faster than PyTorch's own dropout. The rate is rounded to a
    65,536th; `weight` is the scale of the remaining elements for the rounded rate. `drops`: whether any element is dropped.
    """

    def __init__(self, rate: float, device: torch.device, *, state: torch.Tensor | None = None) -> None:
        self._rate, self._device, self._dropped = rate, device, round(rate * _STEPS)
        self.drops, self.weight = self._dropped > 0, _STEPS / max(1, _STEPS - self._dropped)
        self._source = _generator(device)
        if state is not None:
            self._source = torch.Generator(device)
            self._source.set_state(state)
        self._state = self._source.get_state() if self.drops else None

    def replay(self) -> "DropoutMask":
        """Return the same masks in the same order, without touching PyTorch's own generator."""
        return DropoutMask(self._rate, self._device, state=self._state)

    def sample(self, like: torch.Tensor) -> torch.Tensor:
        """Return the next mask: 0 where an element is dropped, else 1."""
        count = like.numel()
        bits = torch.empty(-(-count // 4), dtype=torch.int64, device=self._device)
        bits.random_(-(1 << 63), None, generator=self._source)
        lowest, mask = self._dropped - _STEPS // 2, torch.empty(like.shape, dtype=like.dtype, device=self._device)
        if self._dropped == _STEPS:  # `lowest` would overflow 16 bits
            return mask.zero_()
        return torch.ge(bits.view(torch.int16)[:count].view(like.shape), lowest, out=mask)  # a boolean result: 7 times slower


def _generator(device: torch.device) -> torch.Generator:
    """The device's default generator."""
    return torch.cuda.default_generators[device.index or 0] if device.type == "cuda" else torch.default_generator


def dropout(states: torch.Tensor, rate: float) -> torch.Tensor:
    """Dropout in training, on a CPU with `DropoutMask`."""
    if states.device.type != "cpu" or not 0 < round(rate * _STEPS) < _STEPS:
        return nn.functional.dropout(states, rate)
    mask = DropoutMask(rate, states.device)
    return states * mask.sample(states).mul_(mask.weight)  # scaling the mask first saves a pass over memory, forward and backward


class Dropout(nn.Dropout):
    """PyTorch's module, computed by `dropout`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop in training; return the input otherwise."""
        return dropout(input, self.p) if self.training and self.p > 0 else input


class _FrozenProduct(torch.autograd.Function):
    """states · Wᵀ + bias for a frozen matrix; nothing is saved for the backward pass."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, packed: "PackedWeight") -> torch.Tensor:
        ctx.packed, ctx.dtype = packed, states.dtype
        return packed.product(states)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.packed.backward_product(gradients[0]).to(ctx.dtype), None


class PackedWeight:
    """A copy of a frozen matrix in the order in which the processor reads it; the backward pass reads the plain matrix.

    It is packed again when the weight has changed. `inputs_first`: the weight is (I, O).
    """

    def __init__(self, module: Any, *, inputs_first: bool) -> None:
        self._module, self._inputs_first = module, inputs_first
        self._state: tuple[int, object] = (0, 0)
        self._packed: torch.Tensor | None = None

    def current(self) -> torch.Tensor:
        """The packed matrix, packed again if the weight has changed."""
        weight = self._module.weight
        state = (weight.data_ptr(), torch_compat.tensor_version(weight))
        if self._packed is None or self._state != state:
            self._packed = torch_compat.pack_weight(weight.T if self._inputs_first else weight)
            self._state = state
        return self._packed

    def __deepcopy__(self, memo: dict[int, Any]) -> "PackedWeight":
        """A new one for the module's copy: packed tensors cannot be copied."""
        return PackedWeight(copy.deepcopy(self._module, memo), inputs_first=self._inputs_first)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """states · Wᵀ + bias."""
        return _FrozenProduct.apply(states, self)  # type: ignore[no-any-return]

    def product(self, states: torch.Tensor) -> torch.Tensor:
        """states · Wᵀ + bias without gradients, in the weight's dtype."""
        return torch_compat.packed_linear(states.to(self._module.weight.dtype), self.current(), self._module.bias)

    def backward_product(self, gradients: torch.Tensor) -> torch.Tensor:
        """gradients · W, from the plain weight: a packed transpose would be a third copy, for 2% of a step's time."""
        weight = self._module.weight
        return gradients.to(weight.dtype) @ (weight.T if self._inputs_first else weight)


class PackedLinear(nn.Linear):
    """A frozen linear layer with a packed product."""

    packed: PackedWeight

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As the plain layer, which computes on other devices than the CPU."""
        return self.packed(input) if input.device.type == "cpu" else super().forward(input)


class PackedConv1D(Conv1D):
    """A frozen layer of GPT-2, whose weight is (I, O), with a packed product."""

    packed: PackedWeight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the plain layer, which computes on other devices than the CPU."""
        return self.packed(x) if x.device.type == "cpu" else super().forward(x)


_PACKED: dict[type, type] = {nn.Linear: PackedLinear, Conv1D: PackedConv1D}


def pack(module: Any) -> None:
    """Make a frozen matrix use packed products. On the meta device, only add a buffer of the packed copy's size."""
    if module.weight.is_meta:
        module.register_buffer("packed", torch.empty_like(module.weight), persistent=False)
        return
    module.packed = PackedWeight(module, inputs_first=isinstance(module, Conv1D))
    module.packed.current()
    module.packed_bytes = module.weight.numel() * module.weight.element_size()
    module.__class__ = _PACKED[type(module)]


def read_matrix(module: Any) -> torch.Tensor:
    """Return the weight of a plain matrix as (O, I)."""
    return module.weight.T if isinstance(module, Conv1D) else module.weight  # type: ignore[no-any-return]


def count_matrix_weights(module: Any) -> int:
    """Return the size of a plain matrix, packed or not; 0 for all other modules."""
    return int(module.weight.numel()) if type(module) in (*_PACKED, *_PACKED.values()) else 0


def is_packable(module: Any) -> bool:
    """Whether a module is a plain frozen matrix in a dtype for which this machine has packed products."""
    if type(module) not in _PACKED or any(parameter.requires_grad for parameter in module.parameters()):
        return False
    return module.weight.device.type in ("cpu", "meta") and can_pack(module.weight.dtype)


def fuse(network: nn.Module) -> None:
    """Replace tanh GELU and dropout by versions that compute the same in fewer passes over memory."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) in (NewGELUActivation, FastGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
            elif type(child) is nn.Dropout:
                child.__class__ = Dropout
