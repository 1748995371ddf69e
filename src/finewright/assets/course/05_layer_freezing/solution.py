"""Lesson 5: one possible solution."""

from typing import Any

from torch import nn


def train_top(model: Any, num_layers: int) -> None:
    """All off, then on where it is wanted."""
    layers = model.transformer.h
    _only(model, [*layers[len(layers) - num_layers :], model.transformer.ln_f, model.score])


def train_bottom(model: Any, num_layers: int) -> None:
    """The gradient still passes through the frozen layers above; it is only not kept there."""
    _only(model, [*model.transformer.h[:num_layers], model.score])


def _only(model: Any, parts: list[nn.Module]) -> None:
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)


def shares(model: Any) -> list[float]:
    """All layers are of one size."""
    total, layer, norm = (_size(part) for part in (model.transformer, model.transformer.h[0], model.transformer.ln_f))
    return [(number * layer + norm) / total for number in range(len(model.transformer.h) + 1)]


def _size(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def nearest(choices: list[float], wanted: float) -> int:
    """The smallest distance wins."""
    return min(range(len(choices)), key=lambda place: abs(choices[place] - wanted))
