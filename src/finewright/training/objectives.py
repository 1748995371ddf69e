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


def compute_loss(prepared_model: PreparedModel, batch: Batch, *, task: "Task") -> torch.Tensor:
    """Return the sum of the losses of a batch, a scalar that adds up over micro-batches."""
    if prepared_model.runtime.objective == "pairs":
        states_NH = forward.compute_pooled_states(prepared_model, batch.ids, batch.layout, batch.states)
        return cosine_similarity_loss(states_NH, batch.targets) * len(batch.targets)
    output = forward.compute_logits(prepared_model, batch.ids, batch.layout, batch.states)
    return task.loss(output, batch.targets)


def compute_weight(prepared_model: PreparedModel, batch: Batch, *, task: "Task") -> float:
    """Return the weight of a batch in the mean loss of its update."""
    return float(len(batch.rows)) if prepared_model.runtime.objective == "pairs" else task.weight(batch.targets)


def cosine_similarity_loss(states_NH: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Return how far the cosines of all pairs are from 1 for texts of one label and from 0 for others.

    The mean square over the pairs of one label and over the other pairs, the two halves weighted alike: the loss of SetFit
    (Tunstall et al. 2022, arXiv:2209.11055), but each text is encoded once for all its pairs.
    """
    states_NH = F.normalize(states_NH, dim=1)
    cosines_NN = states_NH @ states_NH.T
    same_NN = targets_N[:, None] == targets_N[None]
    others_NN = ~torch.eye(len(targets_N), dtype=torch.bool, device=targets_N.device)
    halves = []
    for pairs_NN, wanted in ((same_NN & others_NN, 1.0), (~same_NN, 0.0)):
        chosen_NN = pairs_NN.float()
        halves.append(((cosines_NN - wanted).square() * chosen_NN).sum() / chosen_NN.sum().clamp(min=1.0))
    return (halves[0] + halves[1]) / 2
