"""Copies of a network's float32 matrices in bfloat16, which generation reads in place of the matrices.

Autocast rounds every matrix again for each token, which on a CPU takes longer than the products themselves. A copy is rounded
once, and stands in the order in which the processor reads it. The products are equal to those of autocast bit for bit.

Shape suffixes: T tokens, I inputs, O outputs of a matrix.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from finewright.core import hardware
from finewright.models import torch_compat

MEMORY_SHARE = 0.5
"""Share of the free memory that the copies may take."""


class _Copy:
    """A matrix in bfloat16 and its bias. It is made again when the weight has changed."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._is_packed = torch_compat.can_pack(torch.bfloat16)
        self._state: tuple[int, object] = (0, 0)
        self._weight: torch.Tensor | None = None

    def product(self, states_TI: torch.Tensor) -> torch.Tensor:
        """states · Wᵀ + bias in bfloat16, without gradients."""
        weight, bias = self._module.weight, self._module.bias
        state = (weight.data_ptr(), torch_compat.tensor_version(weight))
        if self._weight is None or self._state != state:
            weight_OI = (weight.T if isinstance(self._module, Conv1D) else weight).detach().to(torch.bfloat16)
            self._weight = torch_compat.pack_weight(weight_OI) if self._is_packed else weight_OI
            self._state = state
        product = torch_compat.packed_linear if self._is_packed else nn.functional.linear
        return product(states_TI.to(torch.bfloat16), self._weight, None if bias is None else bias.to(torch.bfloat16))


class _CopiedLinear(nn.Linear):
    """A linear layer that reads its copy."""

    bfloat16_copy: _Copy

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As the plain layer under autocast."""
        return self.bfloat16_copy.product(input)


class _CopiedConv1D(Conv1D):
    """A layer of GPT-2, whose weight is (I, O), that reads its copy."""

    bfloat16_copy: _Copy

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the plain layer under autocast."""
        return self.bfloat16_copy.product(x)


_COPIED: dict[type, type] = {nn.Linear: _CopiedLinear, Conv1D: _CopiedConv1D}


class Bfloat16Copies:
    """The copies of one network, made when they are first read and kept from one generation to the next."""

    def __init__(self, network: nn.Module) -> None:
        """Use the plain float32 matrices of a network on a CPU. There are no copies where they would take too much memory."""
        matrices: list[Any] = [module for module in network.modules() if _has_copy(module)]
        num_bytes = 2 * sum(module.weight.numel() for module in matrices)
        fits = num_bytes <= MEMORY_SHARE * hardware.free_bytes("cpu")
        self._copies: list[tuple[Any, _Copy]] = [(module, _Copy(module)) for module in matrices] if fits else []

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the modules read their copies; no gradients can be computed."""
        kinds = [type(module) for module, _ in self._copies]
        try:
            for module, copy in self._copies:
                module.bfloat16_copy = copy
                module.__class__ = _COPIED[type(module)]
            yield
        finally:
            for (module, _), kind in zip(self._copies, kinds, strict=True):
                module.__class__ = kind
                module.__dict__.pop("bfloat16_copy", None)


def _has_copy(module: Any) -> bool:
    return type(module) in _COPIED and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32
