"""Lesson 3: one possible solution."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

Batch = dict[str, Tensor]


def pretrained(folder: Path, num_labels: int) -> Any:
    """`dtype` decides, not the file."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=num_labels, dtype=torch.float32)
    model.config.pad_token_id = model.config.eos_token_id
    return model


def from_scratch(folder: Path, num_labels: int) -> Any:
    """A config holds the shape, not the weights."""
    config = AutoConfig.from_pretrained(folder, num_labels=num_labels)
    config.pad_token_id = config.eos_token_id
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def learning_curve(model: Any, batches: list[Batch], validation: list[Batch], lr: float) -> list[float]:
    """Evaluate, then step and evaluate again."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    curve = [_loss(model, validation)]
    for batch in batches:
        model.train()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        curve.append(_loss(model, validation))
    return curve


@torch.no_grad()
def _loss(model: Any, validation: list[Batch]) -> float:
    model.eval()
    return sum(model(**batch).loss.item() for batch in validation) / len(validation)


def steps_to_reach(curve: list[float], level: float) -> int | None:
    """The first one that is low enough."""
    return next((step for step, loss in enumerate(curve) if loss <= level), None)
