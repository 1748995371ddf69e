"""What the exercises need besides your own code: the small model, the messages, batches of them. Run an exercise as a
script, `python learn/01_continue_training.py`, and it uses this file."""

import csv
import json
import random
import time
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, constants
from torch import Tensor
from transformers import AutoTokenizer
from transformers.utils import logging

warnings.simplefilter("ignore", FutureWarning)  # of libraries, to their own users
getLogger("bitsandbytes").setLevel("ERROR")  # PEFT loads it; what it lacks does not matter here
logging.set_verbosity_error()  # do not warn that a head starts at random
logging.disable_progress_bar()

LONGEST = 64
"""Maximum number of tokens of a message; one message in ten is longer."""
SECONDS = 5.0
"""How long the hub may take to answer."""
SECONDS_BETWEEN_LINES = 5.0
HERE = Path(__file__).resolve().parent
MINI = Path(str(files("finewright"))) / "assets" / "models" / "mini"
"""A small GPT-2, pre-trained, that comes with Finewright."""


def find_hub() -> bool:
    """Whether the hub answers. If it does not, nothing asks it again: each file would be tried for many seconds."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        HfApi().model_info("openai-community/gpt2", timeout=SECONDS)
    except Exception as error:  # of the client, its network layer, the system
        constants.HF_HUB_OFFLINE = getattr(error, "response", None) is None
    return not constants.HF_HUB_OFFLINE


def say(sentence: str) -> None:
    """Print what begins now; training takes a while."""
    print(sentence, flush=True)


class ShownBatches(list[Any]):
    """Batches that tell, every few seconds, how far a loop over them is."""

    def __iter__(self) -> Iterator[Any]:
        began = told = time.monotonic()
        for number, batch in enumerate(super().__iter__()):
            if time.monotonic() - told > SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                left = (told - began) / number * (len(self) - number) if number else 0.0
                say(f"  step {number} of {len(self)}, about {left:.0f} s left")
            yield batch


def tickets(split: str) -> list[tuple[str, str]]:
    """(text, label) of every message of `train`, `validation` or `test`."""
    with open(HERE / "tickets" / f"{split}.csv", encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def labels() -> list[str]:
    """The names of the labels, in alphabetical order."""
    return sorted({label for _, label in tickets("train")})


@cache
def tokenizer(model: Path | str = MINI) -> Any:
    """The model's tokenizer; `mini`'s, and a sentence about it, where that one cannot be had."""
    try:
        return AutoTokenizer.from_pretrained(model)
    except OSError:
        print(f"No tokenizer of {model} without the hub: mini's is used instead, which is fine only for random weights.")
        return AutoTokenizer.from_pretrained(MINI)


def batches(split: str, *, folder: Path | str = MINI, size: int = 16, seed: int = 0) -> list[dict[str, Tensor]]:
    """Batches as transformers wants them: `input_ids` (B, T), padded on the right, `attention_mask` (B, T), `labels` (B,)."""
    cut = tokenizer(folder)
    rows, names = tickets(split), labels()
    random.Random(seed).shuffle(rows)
    made = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        ids = [cut(text)["input_ids"][:LONGEST] for text, _ in part]
        longest = max(map(len, ids))
        made.append(
            {
                "input_ids": torch.tensor([one + [cut.eos_token_id] * (longest - len(one)) for one in ids]),
                "attention_mask": torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in ids]),
                "labels": torch.tensor([names.index(label) for _, label in part]),
            }
        )
    return made


@torch.no_grad()
def accuracy(model: Any, validation: list[dict[str, Tensor]]) -> float:
    """Share of the messages that a transformers classifier labels right."""
    model.eval()
    right = sum(int((model(**batch).logits.argmax(-1) == batch["labels"]).sum()) for batch in validation)
    return right / sum(len(batch["labels"]) for batch in validation)


def save_table(exercise: str, *, title: str, headings: list[str], rows: list[list[Any]]) -> None:
    """Print a table and save it beside the exercise, where `finewright learn show` finds it."""
    cells = [headings, *([f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    table = {"title": title, "headings": headings, "rows": cells[1:]}
    (HERE / f"{Path(exercise).stem}.json").write_text(json.dumps(table, indent=2), encoding="utf-8")
