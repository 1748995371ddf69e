"""Lesson 6: one possible solution."""

import torch
from torch import Tensor

NF4 = torch.tensor(
    [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0]
)


def full_bytes(num_parameters: int) -> int:
    """Weight, gradient, two averages."""
    return 4 * 4 * num_parameters


def lora_bytes(num_frozen: int, num_trained: int) -> int:
    """What is frozen has no gradient, so Adam has nothing to remember about it."""
    return 2 * num_frozen + full_bytes(num_trained)


def quantise(weights: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """(blocks, block, 1) against (16,): the nearest of sixteen."""
    rows = weights.view(-1, block)
    scales = rows.abs().amax(dim=1)
    parts = rows / scales[:, None].clamp(min=1e-12)
    return (parts[..., None] - NF4).abs().argmin(dim=-1).flatten(), scales


def restore(codes: Tensor, scales: Tensor, block: int) -> Tensor:
    """Look up, then scale."""
    return (NF4[codes].view(-1, block) * scales[:, None]).flatten()


def nf4_bits(block: int = 64, group: int = 256) -> float:
    """4 + 8/64 + 32/(64 * 256) = 4.127."""
    return 4 + 8 / block + 32 / (block * group)


def qlora_bytes(num_quantised: int, num_plain: int, num_trained: int) -> float:
    """Eight bits are a byte."""
    return num_quantised * nf4_bits() / 8 + 2 * num_plain + full_bytes(num_trained)
