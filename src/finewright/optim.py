"""Parameter groups, the optimizer, and the learning rate as a pure function of the step."""

import math
from typing import Literal

import torch

from finewright.tuned import Tuned

Schedule = Literal["linear", "cosine", "constant"]


def build(tuned: Tuned, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over what is trained; vectors (biases, norms) are not decayed."""
    parameters = list(tuned.trainable().values())
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, fused=True)


def lr_at(step: int, *, num_steps: int, peak: float, warmup_fraction: float, schedule: Schedule) -> float:
    """Learning rate of update `step` (the first is 0): a linear rise to `peak`, then the schedule down to 0."""
    num_warmup = math.ceil(warmup_fraction * num_steps)
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    if schedule == "linear":
        return peak * (1 - progress)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak
