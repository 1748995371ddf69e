"""What an update minimises: the task's loss, or a contrastive one on the states that the head reads.

Shape suffixes: N texts, H hidden size.
"""

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from finewright.data.packing import Batch
from finewright.models import forward
from finewright.models.prepared import PreparedModel

if TYPE_CHECKING:
    from finewright.tasks.base import Task

TEMPERATURE = 0.1
"""Of the softmax over similarities; docs/explanation/contrastive.md has what others reached."""


def compute_loss(prepared_model: PreparedModel, batch: Batch, *, task: "Task") -> torch.Tensor:
    """Return the sum of the losses of a batch, a scalar that adds up over micro-batches."""
    if prepared_model.runtime.objective == "pairs":
        states_NH = forward.compute_pooled_states(prepared_model, batch.ids, batch.layout, batch.states)
        return supervised_contrastive_loss(states_NH, batch.targets) * len(batch.targets)
    if prepared_model.runtime.reads == "next-token":
        losses_M = forward.compute_token_losses(prepared_model, batch, label_smoothing=prepared_model.runtime.label_smoothing)
        return task.loss(losses_M, batch.targets)
    output = forward.compute_logits(prepared_model, batch.ids, batch.layout, batch.states)
    return task.loss(output, batch.targets)


def compute_weight(prepared_model: PreparedModel, batch: Batch, *, task: "Task") -> float:
    """Return the weight of a batch in the mean loss of its update."""
    return float(len(batch.rows)) if prepared_model.runtime.objective == "pairs" else task.weight(batch.targets)


def supervised_contrastive_loss(states_NH: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Return how badly each text finds the texts of its label among all others by cosine similarity, a mean over the texts.

    The negative logarithm of the softmax of similarity / TEMPERATURE over all other texts, averaged over those of the same label
    (Khosla et al. 2020, arXiv:2004.11362, L_out). A text that is the only one of its label counts as 0.
    """
    states_NH = F.normalize(states_NH, dim=1)
    own_NN = torch.eye(len(targets_N), dtype=torch.bool, device=targets_N.device)
    scores_NN = (states_NH @ states_NH.T / TEMPERATURE).masked_fill(own_NN, -torch.inf)
    log_shares_NN = F.log_softmax(scores_NN, dim=1).masked_fill(own_NN, 0.0)
    same_NN = (targets_N[:, None] == targets_N[None]) & ~own_NN
    found_N = (log_shares_NN * same_NN).sum(dim=1) / same_NN.sum(dim=1).clamp(min=1)
    return -found_N.mean()
