"""Lesson 1: one possible solution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor, Tensor]


def last_token(states: Tensor, lengths: Tensor) -> Tensor:
    """Row b, position lengths[b] - 1."""
    return states[torch.arange(len(states)), lengths - 1]


def scores(body: nn.Module, head: nn.Linear, ids: Tensor, lengths: Tensor) -> Tensor:
    """A token of GPT-2 sees only what stands before it, so padding on the right changes nothing."""
    return head(last_token(body(input_ids=ids).last_hidden_state, lengths))


def train(body: nn.Module, head: nn.Linear, batches: list[Batch], lr: float) -> list[float]:
    """Forward, loss, backward, step; then the gradients go, or the next step would add to them."""
    optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=lr)
    body.train()
    losses = []
    for ids, lengths, labels in batches:
        loss = F.cross_entropy(scores(body, head, ids, lengths), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
