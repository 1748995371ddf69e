"""Lesson 5: one way to write it."""

from typing import Any

from torch import nn


def train_top(model: Any, num_blocks: int) -> None:
    """All off, then on where it is wanted."""
    blocks = model.transformer.h
    _only(model, [*blocks[len(blocks) - num_blocks :], model.transformer.ln_f, model.score])


def train_bottom(model: Any, num_blocks: int) -> None:
    """The gradient still passes through the frozen blocks above; it is only not kept there."""
    _only(model, [*model.transformer.h[:num_blocks], model.score])


def _only(model: Any, parts: list[nn.Module]) -> None:
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)


def shares(model: Any) -> list[float]:
    """All blocks are of one size."""
    total, block, norm = (_size(part) for part in (model.transformer, model.transformer.h[0], model.transformer.ln_f))
    return [(number * block + norm) / total for number in range(len(model.transformer.h) + 1)]


def _size(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def nearest(choices: list[float], wanted: float) -> int:
    """The smallest distance wins."""
    return min(range(len(choices)), key=lambda place: abs(choices[place] - wanted))
