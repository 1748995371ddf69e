"""Lesson 5: freeze the lower layers of GPT-2 small and train the top ones; then turn it round.

Write the four functions. `finewright learn check 5` checks them; `python learn/05_layer_freezing.py` then trains `mini`
with its top half and with its bottom half, about two minutes.

`model` is a GPT2ForSequenceClassification: `model.transformer.wte` and `.wpe` are the embeddings, `.h` the layers from the
bottom up, `.ln_f` the final norm, `model.score` the head.
"""

from typing import Any

import torch
from transformers import AutoModelForSequenceClassification


def train_top(model: Any, num_layers: int) -> None:
    """In place: only the top `num_layers` layers, the final norm and the head are to be trained; all else is frozen."""
    raise NotImplementedError


def train_bottom(model: Any, num_layers: int) -> None:
    """In place, the other way round: only the bottom `num_layers` layers and the head are to be trained."""
    raise NotImplementedError


def shares(model: Any) -> list[float]:
    """For 0, 1, 2, ... up to all layers: which share of the model is trained by that many layers and the final norm.

    The head counts neither as trained nor as part of the model: it is always trained and depends on the task.
    Returns one number from 0 to 1 for each choice; `model` is left as it is.
    """
    raise NotImplementedError


def nearest(choices: list[float], wanted: float) -> int:
    """Which choice (its place in the list) comes nearest to the wanted share."""
    raise NotImplementedError


if __name__ == "__main__":
    import practice

    torch.manual_seed(0)
    rows = []
    for name, freeze in (("top half", train_top), ("bottom half", train_bottom)):
        torch.manual_seed(0)
        practice.say(f"training the {name}: two epochs")
        num_labels = len(practice.labels())
        model = AutoModelForSequenceClassification.from_pretrained(practice.MINI, num_labels=num_labels, dtype=torch.float32)
        model.config.pad_token_id = model.config.eos_token_id
        freeze(model, len(model.transformer.h) // 2)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=3e-4)
        for batch in practice.ShownBatches(practice.batches("train") * 2):
            model.train()
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        reached = practice.accuracy(model, practice.batches("validation", size=64))
        rows.append([name, f"{sum(p.numel() for p in trained):,}", reached])
    headings = ["trained", "parameters, with the head", "validation accuracy"]
    practice.save_table(__file__, title="mini on the tickets, two epochs", headings=headings, rows=rows)
