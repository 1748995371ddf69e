"""Lesson 2: two methods of training few parameters, by hand: a low-rank update and a soft prompt.

Write the class and the two functions. `finewright learn check 2` checks them.
"""

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """A linear layer that stays as it is, and a small update beside it that is trained.

    What it computes for x of shape (..., in): `layer(x)` plus alpha / rank times x, first through `down`, then through `up`.

    layer: nn.Linear with weight (out, in); its parameters are frozen.
    down: parameter (rank, in), starts small and random.
    up: parameter (out, rank), starts at zero, so that at first nothing is changed.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in). Returns (..., out)."""
        raise NotImplementedError


def merge(update: LowRank) -> nn.Linear:
    """One ordinary layer that computes what `update` computes. The layer inside `update` is left as it is."""
    raise NotImplementedError


def with_prompt(prompt: Tensor, embedded: Tensor) -> Tensor:
    """The same trained prompt in front of every text.

    prompt: (P, H), P learned vectors that stand where embeddings of tokens would. embedded: (B, T, H), the texts' embeddings.
    Returns (B, P + T, H); gradients reach `prompt`.
    """
    raise NotImplementedError


if __name__ == "__main__":
    layer = nn.Linear(768, 768, bias=False)
    update = LowRank(layer, rank=8, alpha=32)
    trained = sum(p.numel() for p in update.parameters() if p.requires_grad)
    print(f"a layer of {layer.weight.numel():,} numbers, an update of {trained:,}: {trained / layer.weight.numel():.1%}")
    x = torch.randn(2, 768)
    print("changed at the start by", (update(x) - layer(x)).abs().max().item())
