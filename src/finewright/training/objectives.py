"""What an update minimises: the task's loss, or a contrastive one on the states that the head reads.

Shape suffixes: N texts, H hidden size.
"""

from collections.abc import Sequence
from dataclasses import replace
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
    if batch.texts_RP is not None:
        if batch.aside is not None and batch.aside_ratio is None:
            (batch,) = measure_aside(prepared_model, [batch])
        return task.loss(_collect_sums(prepared_model, batch), _row_targets(batch))
    if prepared_model.runtime.reads == "next-token":
        losses_M = forward.compute_token_losses(prepared_model, batch, label_smoothing=prepared_model.runtime.label_smoothing)
        return task.loss(losses_M, batch.targets)
    if prepared_model.runtime.reads == "every-token":
        return task.loss(forward.compute_read_logits(prepared_model, batch), batch.targets)
    output = forward.compute_logits(prepared_model, batch.ids, batch.layout, batch.states)
    return task.loss(output, batch.targets)


def compute_weight(prepared_model: PreparedModel, batch: Batch, *, task: "Task") -> float:
    """Return the weight of a batch in the mean loss of its update."""
    if prepared_model.runtime.objective == "pairs":
        return float(len(batch.rows))
    return task.weight(batch.targets if batch.texts_RP is None else _row_targets(batch))


def measure_aside(prepared_model: PreparedModel, batches: Sequence[Batch]) -> list[Batch]:
    """Return the batches of an update with the mean difference of log-probabilities from the reference over all texts that are
    set aside, so that it does not depend on how the update is divided; the batches themselves if no text is."""
    if all(batch.aside is None for batch in batches):
        return list(batches)
    ratios = [
        (forward.compute_aside_sums(prepared_model, one)[:, :, 0] - _reference(one)[:, _num_learnt(one) :]) for one in batches
    ]
    mean = torch.cat(ratios).double().mean().float()
    return [replace(batch, aside_ratio=mean) for batch in batches]


def _collect_sums(prepared_model: PreparedModel, batch: Batch) -> torch.Tensor:
    """Return the sums of log-probabilities, the numbers of tokens and the reference sums by text, shape (R, P, 3).

    For the texts that are set aside a single one stands with the mean of all of the update, and 0 as its reference.
    """
    sums_RP2 = forward.compute_text_sums(prepared_model, batch)
    reference_RP = (
        sums_RP2.new_zeros(sums_RP2.shape[:2]) if batch.reference is None else _reference(batch)[:, : _num_learnt(batch)]
    )
    found_RP3 = torch.cat([sums_RP2, reference_RP[:, :, None]], dim=2)
    if batch.aside_ratio is None:
        return found_RP3
    others = torch.stack([batch.aside_ratio, *found_RP3.new_zeros(2)]).expand(len(found_RP3), 1, 3)
    return torch.cat([found_RP3, others], dim=1)


def _num_learnt(batch: Batch) -> int:
    assert batch.texts_RP is not None
    return batch.texts_RP.shape[1]


def _reference(batch: Batch) -> torch.Tensor:
    assert batch.reference is not None, "the reference is measured before training"
    return batch.reference


def _row_targets(batch: Batch) -> torch.Tensor:
    assert batch.row_targets is not None, "rows of several texts have a target each"
    return batch.row_targets


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
