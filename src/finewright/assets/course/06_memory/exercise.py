"""Lesson 6: where the memory goes, and how 7 billion parameters fit into 8 GB.

Write the six functions; all sizes are bytes. `finewright learn check 6` checks them; `python learn/06_memory.py` then
does the sum for Llama 7B.
"""

import torch
from torch import Tensor

NF4 = torch.tensor(
    [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0]
)
"""The sixteen values of 4-bit NormalFloat, dense where weights are many (Dettmers et al. 2023, arXiv:2305.14314), rounded."""


def full_bytes(num_parameters: int) -> int:
    """Training all parameters in float32 with Adam: each has its weight, its gradient and Adam's two averages, 4 bytes apiece."""
    raise NotImplementedError


def lora_bytes(num_frozen: int, num_trained: int) -> int:
    """LoRA: frozen parameters in bfloat16, 2 bytes and nothing else; trained ones as above."""
    raise NotImplementedError


def quantise(weights: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Weights to 4-bit codes, `block` neighbours at a time.

    weights: (N,), N a multiple of `block`, float32. A block's scale is its largest absolute value. Each weight, divided by
    its block's scale, gets the place in NF4 of the value nearest to it.
    Returns codes (N,), whole numbers 0 to 15, and scales (N / block,).
    """
    raise NotImplementedError


def restore(codes: Tensor, scales: Tensor, block: int) -> Tensor:
    """The weights that codes and scales stand for, (N,) float32."""
    raise NotImplementedError


def nf4_bits(block: int = 64, group: int = 256) -> float:
    """Bits that QLoRA keeps for each weight, scales included.

    4 bits for the code; one scale of 8 bits for `block` weights; and, since the scales are quantised themselves, one
    scale of 32 bits for `group` of those.
    """
    raise NotImplementedError


def qlora_bytes(num_quantised: int, num_plain: int, num_trained: int) -> float:
    """QLoRA: quantised weights in nf4_bits() each; what is not quantised, such as embeddings and norms, in bfloat16;
    trained parameters as in `full_bytes`."""
    raise NotImplementedError


if __name__ == "__main__":
    blocks = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)  # Llama 7B: attention and MLP of 32 layers
    plain = 2 * 32000 * 4096 + (2 * 32 + 1) * 4096  # embedding, output layer, norms
    lora = 32 * 2 * 8 * (4096 + 4096)  # rank 8 on query and value
    print(f"Llama 7B has {blocks + plain:,} parameters")
    for name, size in (
        ("all parameters, float32, Adam", full_bytes(blocks + plain)),
        ("LoRA on bfloat16", lora_bytes(blocks + plain, lora)),
        ("QLoRA", qlora_bytes(blocks, plain, lora)),
    ):
        left = 8e9 - size
        print(f"{name:28} {size / 1e9:6.1f} GB  {'leaves' if left > 0 else 'lacks'} {abs(left) / 1e9:.1f} GB of 8 GB")
    weights = torch.randn(64_000) * 0.02
    error = (restore(*quantise(weights, 64), 64) - weights).abs().mean() / weights.abs().mean()
    print(f"four bits a weight: mean error {error:.1%} of the mean weight")
