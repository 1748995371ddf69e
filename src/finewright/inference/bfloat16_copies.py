"""Copies of a network's float32 matrices in bfloat16, which generation reads in place of the matrices.

Autocast rounds every matrix again for each token, which on a CPU takes longer than the products themselves. A copy is rounded
once, and stands in the order in which the processor reads it. The products are equal to those of autocast bit for bit.

Copies are made for one batch of answers and do not follow their matrices: PyTorch does not tell of every change of a weight.

Shape suffixes: T tokens, I inputs, O outputs of a matrix.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from finewright.core import hardware
from finewright.models import kernels, torch_compat

MEMORY_SHARE = 0.5
"""Share of the free memory that the copies may take."""
_ATTRIBUTE = "bfloat16_copy"
"""Of a module that reads its copy."""


class _Copy:
    """A matrix and its bias in bfloat16."""

    def __init__(self, module: Any) -> None:
        self._is_packed = torch_compat.can_pack(torch.bfloat16)
        weight_OI = kernels.read_matrix(module).detach().to(torch.bfloat16)
        self._weight = torch_compat.pack_weight(weight_OI) if self._is_packed else weight_OI
        self._bias = None if module.bias is None else module.bias.detach().to(torch.bfloat16)

    def product(self, states_TI: torch.Tensor) -> torch.Tensor:
        """states · Wᵀ + bias in bfloat16, without gradients."""
        product = torch_compat.packed_linear if self._is_packed else nn.functional.linear
        return product(states_TI.to(torch.bfloat16), self._weight, self._bias)


class _CopiedLinear(nn.Linear):
    """A linear layer that reads its copy. Another thread may have taken it away: then the plain matrix is read."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As the plain layer under autocast."""
        copy = self.__dict__.get(_ATTRIBUTE)
        return super().forward(input) if copy is None else copy.product(input)


class _CopiedConv1D(Conv1D):
    """A layer of GPT-2, whose weight is (I, O), that reads its copy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the plain layer under autocast."""
        copy = self.__dict__.get(_ATTRIBUTE)
        return super().forward(x) if copy is None else copy.product(x)


_COPIED: dict[type, type] = {nn.Linear: _CopiedLinear, Conv1D: _CopiedConv1D}
_PLAIN = {copied: plain for plain, copied in _COPIED.items()}


class Bfloat16Copies:
    """The copies of one network, of its plain float32 matrices on a CPU; none where they would take too much memory."""

    def __init__(self, network: nn.Module) -> None:
        """Copy the matrices as they are now."""
        matrices: list[Any] = [module for module in network.modules() if _has_copy(module)]
        num_bytes = 2 * sum(module.weight.numel() for module in matrices)
        fits = num_bytes <= MEMORY_SHARE * hardware.free_bytes("cpu")
        self._copies = [(module, _Copy(module)) for module in matrices] if fits else []

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Around one pass without gradients: the modules read their copies."""
        try:
            for module, copy in self._copies:
                module.__dict__[_ATTRIBUTE] = copy
                object.__setattr__(module, "__class__", _COPIED.get(type(module), type(module)))
            yield
        finally:
            for module, copy in self._copies:
                object.__setattr__(module, "__class__", _PLAIN.get(type(module), type(module)))
                if module.__dict__.get(_ATTRIBUTE) is copy:
                    module.__dict__.pop(_ATTRIBUTE, None)


def _has_copy(module: Any) -> bool:
    kind = type(module)
    return (kind in _COPIED or kind in _PLAIN) and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32
