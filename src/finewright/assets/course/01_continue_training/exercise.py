"""Lesson 1: continue training a pre-trained model on a task.

Write the three functions. `finewright learn check 1` checks them; `python learn/01_continue_training.py` then trains
`mini` on the tickets with your code, about a minute.

Letters in shapes: B texts, T tokens of the longest text, H numbers per token, C labels.
"""

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor, Tensor]
"""ids (B, T), padded on the right; lengths (B,); labels (B,)."""


def last_token(states: Tensor, lengths: Tensor) -> Tensor:
    """The state of the last real token of each text.

    states: (B, T, H); what lies behind a text's end is padding and means nothing.
    lengths: (B,), how many real tokens each text has, from 1 to T.
    Returns (B, H).
    """
    raise NotImplementedError


def scores(body: nn.Module, head: nn.Linear, ids: Tensor, lengths: Tensor) -> Tensor:
    """What the classifier says about each text.

    body: a transformers GPT2Model; `body(input_ids=ids).last_hidden_state` has shape (B, T, H).
    head: a linear layer from H to C. ids: (B, T). lengths: (B,).
    Returns (B, C).
    """
    raise NotImplementedError


def train(body: nn.Module, head: nn.Linear, batches: list[Batch], lr: float) -> list[float]:
    """Train body and head: one step of AdamW for each batch, in order, with cross-entropy as the loss.

    Returns the loss of every step, one number a batch.
    """
    raise NotImplementedError


if __name__ == "__main__":
    import practice
    from transformers import AutoModel

    torch.manual_seed(0)
    body = AutoModel.from_pretrained(practice.MINI, dtype=torch.float32)
    head = nn.Linear(body.config.hidden_size, len(practice.labels()), bias=False)
    nn.init.normal_(head.weight, std=0.02)

    def plain(split: str) -> list[Batch]:
        return [(one["input_ids"], one["attention_mask"].sum(1), one["labels"]) for one in practice.batches(split)]

    def accuracy() -> float:
        with torch.no_grad():
            right = [
                (scores(body, head, ids, lengths).argmax(1) == labels).float() for ids, lengths, labels in plain("validation")
            ]
        return float(torch.cat(right).mean())

    practice.say("measuring the accuracy before training")
    before = accuracy()
    practice.say(f"training: {len(plain('train'))} steps")
    losses = train(body, head, practice.ShownBatches(plain("train")), lr=3e-4)
    rows = [["before", before, losses[0]], ["after one epoch", accuracy(), sum(losses[-10:]) / 10]]
    practice.save_table(
        __file__, title="mini on the tickets", headings=["when", "validation accuracy", "training loss"], rows=rows
    )
