"""Switches dropout off to evaluate and never on again."""

import torch
from solution import *


def learning_curve(model, batches, validation, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    model.eval()

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
