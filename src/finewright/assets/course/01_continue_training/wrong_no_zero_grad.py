"""Gradients pile up from step to step."""

import torch
from solution import *


def train(body, head, batches, lr):
    optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=lr)
    losses = []
    for ids, lengths, labels in batches:
        loss = torch.nn.functional.cross_entropy(scores(body, head, ids, lengths), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
