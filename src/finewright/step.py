"""One training step: forward, loss, backward, clip; then the update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from finewright import tasks
from finewright.batches import Batch
from finewright.tasks import Classification
from finewright.tuned import Tuned

_TINY = 1e-6
"""What PyTorch adds to a norm before it divides by it. A smaller norm is not multiplied: by one it would be for nothing."""


@dataclass(frozen=True)
class StepResult:
    """`loss`: weighted mean over the texts of the step, nats. `grad_norm`: before clipping. `applied`: both are numbers, so
    the weights are changed."""

    loss: float
    grad_norm: float
    num_tokens: int
    num_rows: int
    applied: bool


def train_step(
    tuned: Tuned, batches: Sequence[Batch], *, task: Classification, optimizer: torch.optim.Optimizer, lr: float, clip_norm: float
) -> StepResult:
    """One update from all texts of `batches`. A step with a non-finite loss or gradient is not applied."""
    result = gradients(tuned, batches, task=task, optimizer=optimizer, clip_norm=clip_norm)
    if result.applied:
        apply(optimizer, lr=lr)
    return result


def gradients(
    tuned: Tuned, batches: Sequence[Batch], *, task: Classification, optimizer: torch.optim.Optimizer, clip_norm: float
) -> StepResult:
    """Clipped gradients of all texts of `batches`: the same as if they had been one batch. No weight is changed.

    Each pass is divided by the weight of the whole step, so accumulation does not change the scale of the loss.
    """
    optimizer.zero_grad(set_to_none=True)
    total_weight = sum(float(_weights(task, batch).sum()) for batch in batches)
    loss_sum = 0.0
    for batch in batches:
        losses, weights = task.losses(tasks.logits(tuned, batch.ids, batch.layout, batch.states), batch.targets)
        loss = (losses * weights).sum() / total_weight
        loss.backward()
        loss_sum += float(loss.detach())
    parameters = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
    norm = torch.nn.utils.get_total_norm([one.grad for one in parameters])
    grad_norm = float(norm)
    if 0 < clip_norm < grad_norm + _TINY:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    applied = math.isfinite(loss_sum) and math.isfinite(grad_norm)
    num_tokens = sum(batch.num_tokens for batch in batches)
    return StepResult(loss_sum, grad_norm, num_tokens, sum(len(batch.rows) for batch in batches), applied)


def apply(optimizer: torch.optim.Optimizer, *, lr: float) -> None:
    """Change the weights by their gradients."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()


def _weights(task: Classification, batch: Batch) -> torch.Tensor:
    zeros = torch.zeros(len(batch.rows), len(task.labels), device=batch.targets.device)
    return task.losses(zeros, batch.targets)[1]
