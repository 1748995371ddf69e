"""Looks with dropout on: the validation loss is worse than the model is, and different every time."""

import torch
from solution import *


def learning_curve(model, batches, validation, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    model.train()

    def evaluate():
        with torch.no_grad():
            return sum(model(**batch).loss.item() for batch in validation) / len(validation)

    curve = [evaluate()]
    for batch in batches:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        curve.append(evaluate())
    return curve
