"""Lesson 4: LoRA with PEFT: GPT-2 small as a text classifier, about 0.2% of its parameters trained.

Write the four functions. `finewright learn check 4` checks them. Then
`python learn/04_lora_with_peft.py` counts on GPT-2 small and trains `mini` on the tickets, once with your LoRA and once
with all parameters, about two minutes; `python learn/04_lora_with_peft.py gpt2` trains GPT-2 itself, which takes long on a CPU.
"""

from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model  # noqa: F401  of use to you
from torch import Tensor
from transformers import AutoModelForSequenceClassification, GPT2Config

Batch = dict[str, Tensor]
"""input_ids (B, T), attention_mask (B, T), labels (B,): `model(**batch).loss` is the loss."""


def load_gpt2(num_labels: int) -> Any:
    """GPT-2 small with a head; the same shape with random weights when the hub cannot be reached. This one is given."""
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            "openai-community/gpt2", num_labels=num_labels, dtype=torch.float32
        )
    except OSError:
        print("The hub cannot be reached: GPT-2 small with random weights. Every count is the same, nothing transfers.")
        model = AutoModelForSequenceClassification.from_config(GPT2Config(num_labels=num_labels), dtype=torch.float32)
    model.config.pad_token_id = model.config.eos_token_id
    return model


def add_lora(model: Any) -> Any:
    """The model with LoRA beside the attention's projection to query, key and value, `c_attn`, in every layer.

    Rank 8, alpha 32, for sequence classification, so that the head is trained too. Returns a PeftModel.
    """
    raise NotImplementedError


def count_by_hand(width: int, rank: int, num_layers: int) -> tuple[int, int]:
    """How many numbers LoRA trains, computed without a model; the head does not count.

    LoRA on a linear layer from `a` to `b` numbers has two matrices, (rank, a) and (b, rank).
    First: one LoRA on the fused projection, from `width` to 3 * width, as PEFT does it.
    Second: two LoRAs, on query and on value, each from `width` to `width`.
    Returns both, each over all layers.
    """
    raise NotImplementedError


def train(model: Any, batches: list[Batch], lr: float) -> list[float]:
    """One step of AdamW a batch over the numbers that are to be trained, and only those. Returns the losses."""
    raise NotImplementedError


def merge(model: Any) -> Any:
    """An ordinary transformers model that scores as the PeftModel does: the update is added to the weights."""
    raise NotImplementedError


if __name__ == "__main__":
    import sys

    import practice

    torch.manual_seed(0)
    num_labels = len(practice.labels())
    practice.say("counting on GPT-2 small")
    practice.find_hub()
    model = add_lora(load_gpt2(num_labels))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) - 768 * num_labels
    print(f"GPT-2 small: {trained:,} of 124,439,808 parameters, {trained / 124_439_808:.3%}; by hand {count_by_hand(768, 8, 12)}")

    folder = "openai-community/gpt2" if "gpt2" in sys.argv else practice.MINI

    def fresh() -> Any:
        torch.manual_seed(0)
        if "gpt2" in sys.argv:
            made = load_gpt2(num_labels)
        else:
            made = AutoModelForSequenceClassification.from_pretrained(practice.MINI, num_labels=num_labels, dtype=torch.float32)
        made.config.pad_token_id = practice.tokenizer(folder).eos_token_id  # what the batches are padded with
        return made

    batches, validation = practice.batches("train", folder=folder) * 2, practice.batches("validation", folder=folder, size=64)
    rows = []
    lora_lr, full_lr = (1e-3, 1e-4) if "gpt2" in sys.argv else (3e-3, 3e-4)  # a small network stands higher learning rates
    for name, model, lr in (("LoRA", add_lora(fresh()), lora_lr), ("all parameters", fresh(), full_lr)):
        practice.say(f"training {name}: {len(batches)} steps")
        train(model, practice.ShownBatches(batches), lr)
        numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
        rows.append([name, f"{numbers:,}", practice.accuracy(model, validation)])
    headings = ["method", "trained parameters, with the head", "validation accuracy"]
    practice.save_table(__file__, title="your LoRA and all parameters, two epochs", headings=headings, rows=rows)
