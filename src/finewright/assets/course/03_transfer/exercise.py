"""Lesson 3: what pre-training is worth: the same network twice, once pre-trained and once from scratch.

Write the four functions. `finewright learn check 3` checks them; `python learn/03_transfer.py` then draws both learning
curves of `mini` on the tickets as numbers, about two minutes.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification  # noqa: F401  both are of use to you

Batch = dict[str, Tensor]
"""input_ids (B, T), attention_mask (B, T), labels (B,): `model(**batch).loss` and `.logits` (B, C)."""


def pretrained(folder: Path, num_labels: int) -> Any:
    """A classifier with the weights in `folder` and a fresh head.

    Its parameters are float32, in whatever dtype they are stored: small steps vanish in 16 bits.
    GPT-2 has no padding token; for batches its `config.pad_token_id` must be set, to `config.eos_token_id`.
    """
    raise NotImplementedError


def from_scratch(folder: Path, num_labels: int) -> Any:
    """The same network from the config in `folder` alone: every weight random, float32, `pad_token_id` set too."""
    raise NotImplementedError


def learning_curve(model: Any, batches: list[Batch], validation: list[Batch], lr: float) -> list[float]:
    """Train with AdamW, one step a batch, and compute the validation loss before the first step and after every step.

    The validation loss is the mean of the validation batches' losses, without dropout and without gradients; the steps
    are taken with dropout. Returns len(batches) + 1 numbers.
    """
    raise NotImplementedError


def steps_to_reach(curve: list[float], level: float) -> int | None:
    """After how many steps the curve is first at or below `level`; 0: before any step; None: never."""
    raise NotImplementedError


if __name__ == "__main__":
    import practice

    train = practice.ShownBatches(practice.batches("train"))
    validation = practice.batches("validation", size=40)[:1]  # evaluated after every step: forty messages are enough
    curves = {}
    for name, make in (("pre-trained", pretrained), ("from scratch", from_scratch)):
        torch.manual_seed(0)
        practice.say(f"training {name}: {len(train)} steps")
        curves[name] = learning_curve(make(practice.MINI, len(practice.labels())), train, validation, lr=3e-4)
    level = min(curves["from scratch"])
    steps = range(0, len(train) + 1, 10)
    rows = [[step, *(curve[step] for curve in curves.values())] for step in steps]
    practice.save_table(__file__, title="validation loss of mini on the tickets", headings=["step", *curves], rows=rows)
    print(
        f"from scratch comes down to {level:.2f}; pre-trained is there after {steps_to_reach(curves['pre-trained'], level)} steps"
    )
