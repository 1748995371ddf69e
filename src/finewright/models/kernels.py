"""Faster parts with the same results: products with frozen matrices, activations, dropout. What they replace is kept.

Shape suffixes: T tokens, I inputs, O outputs of a matrix.
"""

import copy
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.pytorch_utils import Conv1D

_STEPS = 1 << 16


class DropoutMask:
    """What dropout drops: drawn as it is asked for, and the same once more. `drops`: anything at all.

    One draw of 64 bits serves four numbers, which on a CPU is 2.5 times faster than PyTorch's own. The share is rounded to a
    65,536th; what stays is to be scaled by `weight`, exactly what was rounded to.
    """

    def __init__(self, share: float, device: torch.device, *, state: torch.Tensor | None = None) -> None:
        self._share, self._device, self._dropped = share, device, round(share * _STEPS)
        self.drops, self.weight = self._dropped > 0, _STEPS / max(1, _STEPS - self._dropped)
        self._source = _generator(device)
        if state is not None:
            self._source = torch.Generator(device)
            self._source.set_state(state)
        self._state = self._source.get_state() if self.drops else None

    def again(self) -> "DropoutMask":
        """The same draws in the same order, from the beginning; PyTorch's own generator is left alone."""
        return DropoutMask(self._share, self._device, state=self._state)

    def kept(self, like: torch.Tensor) -> torch.Tensor:
        """1 where a number stays, 0 where it is dropped."""
        count = like.numel()
        bits = torch.empty(-(-count // 4), dtype=torch.int64, device=self._device)
        bits.random_(-(1 << 63), None, generator=self._source)
        least, kept = self._dropped - _STEPS // 2, torch.empty(like.shape, dtype=like.dtype, device=self._device)
        if self._dropped == _STEPS:  # a number that 16 bits do not hold: it would be taken for the least of all
            return kept.zero_()
        return torch.ge(bits.view(torch.int16)[:count].view(like.shape), least, out=kept)  # by way of booleans: 7 times slower


def _generator(device: torch.device) -> torch.Generator:
    """The one that everything on the device draws from."""
    return torch.cuda.default_generators[device.index or 0] if device.type == "cuda" else torch.default_generator


def dropout(states: torch.Tensor, share: float) -> torch.Tensor:
    """Dropout in training, on a CPU with the draw of `Drawn`."""
    if states.device.type != "cpu" or not 0 < round(share * _STEPS) < _STEPS:
        return nn.functional.dropout(states, share)
    drawn = DropoutMask(share, states.device)
    return states * drawn.kept(states).mul_(drawn.weight)  # scaled first: one pass less there, one less back


class Dropout(nn.Dropout):
    """PyTorch's module with the draw of `dropout`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass on otherwise."""
        return dropout(input, self.p) if self.training and self.p > 0 else input


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed product is there and right on this machine: tried on small matrices.

    The operators are PyTorch's own but not public, so their absence must only cost speed. In bfloat16 the packed product
    has to give the very numbers of the plain one.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            states, weight = torch.randn(33, 96).to(dtype), torch.randn(160, 96).to(dtype)
            plain, packed = nn.functional.linear(states, weight), _product(states, _pack(weight), None)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.equal(plain, packed) if dtype == torch.bfloat16 else torch.allclose(plain, packed, atol=1e-4, rtol=1e-5)


def _pack(weight_OI: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().contiguous(), None)


def _product(states_TI: torch.Tensor, packed_OI: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(states_TI, packed_OI, bias_O, "none", [], "")


class _FrozenProduct(torch.autograd.Function):
    """states · Wᵀ + bias for a matrix that is not trained: nothing of the forward pass is kept for the backward."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, packed: "PackedWeight") -> torch.Tensor:
        ctx.packed, ctx.dtype = packed, states.dtype
        return packed.product(states)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.packed.backward_product(gradients[0]).to(ctx.dtype), None


class PackedWeight:
    """A frozen matrix in the order in which the processor reads it, beside the plain one, which the backward pass reads.

    It is packed anew when the weight was changed since. `inputs_first`: the weight is (I, O).
    """

    def __init__(self, module: Any, *, inputs_first: bool) -> None:
        self._module, self._inputs_first = module, inputs_first
        self._state: tuple[int, int] = (0, 0)
        self._packed: torch.Tensor | None = None

    def look(self) -> torch.Tensor:
        """The packed matrix, up to date."""
        weight = self._module.weight
        if self._packed is None or self._state != (weight.data_ptr(), weight._version):
            self._packed = _pack(weight.T if self._inputs_first else weight)
            self._state = (weight.data_ptr(), weight._version)
        return self._packed

    def __deepcopy__(self, memo: dict[int, Any]) -> "PackedWeight":
        """For the module's copy, which packs for itself: packed tensors cannot be copied."""
        return PackedWeight(copy.deepcopy(self._module, memo), inputs_first=self._inputs_first)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """states · Wᵀ + bias."""
        return _FrozenProduct.apply(states, self)  # type: ignore[no-any-return]

    def product(self, states: torch.Tensor) -> torch.Tensor:
        """states · Wᵀ + bias without gradients, in the weight's dtype."""
        return _product(states.to(self._module.weight.dtype), self.look(), self._module.bias)

    def backward_product(self, gradients: torch.Tensor) -> torch.Tensor:
        """gradients · W: read from the plain weight, because a packed transpose took a third copy and won 2 % of a step."""
        weight = self._module.weight
        return gradients.to(weight.dtype) @ (weight.T if self._inputs_first else weight)


class PackedLinear(nn.Linear):
    """A frozen linear layer with a packed product."""

    packed: PackedWeight

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As the plain layer; on another device than the packed copy's by it."""
        return self.packed(input) if input.device.type == "cpu" else super().forward(input)


class PackedConv1D(Conv1D):
    """A frozen layer of GPT-2, whose weight is (I, O), with a packed product."""

    packed: PackedWeight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the plain layer; on another device than the packed copy's by it."""
        return self.packed(x) if x.device.type == "cpu" else super().forward(x)


_PACKED: dict[type, type] = {nn.Linear: PackedLinear, Conv1D: PackedConv1D}


def pack(module: Any) -> None:
    """Let a frozen matrix use packed products. On the meta device only the memory they will take is put there."""
    if module.weight.is_meta:
        module.register_buffer("packed", torch.empty_like(module.weight), persistent=False)
        return
    module.packed = PackedWeight(module, inputs_first=isinstance(module, Conv1D))
    module.packed.look()
    module.packed_bytes = module.weight.numel() * module.weight.element_size()
    module.__class__ = _PACKED[type(module)]


def count_numbers(module: Any) -> int:
    """Of a plain matrix, packed or not; 0 for all other modules."""
    return int(module.weight.numel()) if type(module) in (*_PACKED, *_PACKED.values()) else 0


def is_packable(module: Any) -> bool:
    """Whether a module is a plain matrix that is not trained, in a dtype whose packed product this machine has."""
    if type(module) not in _PACKED or any(parameter.requires_grad for parameter in module.parameters()):
        return False
    return module.weight.device.type in ("cpu", "meta") and can_pack(module.weight.dtype)


def fuse(network: nn.Module) -> None:
    """Put PyTorch's one-pass tanh GELU and our dropout in the place of what computes the same in many passes."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) in (NewGELUActivation, FastGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
            elif type(child) is nn.Dropout:
                child.__class__ = Dropout
