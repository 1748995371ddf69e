"""Computes gradients and never uses them."""

import torch
from solution import *


def train(body, head, batches, lr):
    losses = []
    for ids, lengths, labels in batches:
        loss = torch.nn.functional.cross_entropy(scores(body, head, ids, lengths), labels)
        loss.backward()
        losses.append(loss.item())
    return losses
