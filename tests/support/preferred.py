"""Preference data in the words of the tiny models, and short runs on it."""

import json

from finewright import methods
from finewright.core.config import RunConfig, build_options
from finewright.data.conversations import Message
from finewright.runs import pipeline
from support import sessions, tiny

ASKED = ["where is my parcel", "when does it arrive", "the invoice please", "is the tent broken", "pay the new invoice"]
GOOD, BAD = ["please send it", "ship the parcel", "send the new one"], ["charged twice", "the zip is broken", "refund"]


def rows(*, count=30):
    """Pairs as they are written to files."""
    return [
        {"prompt": f"{ASKED[i % 5]} {i}", "chosen": f"{GOOD[i % 3]} {i % 7}", "rejected": f"{BAD[i % 3]} {i % 4}"}
        for i in range(count)
    ]


def write(path, lines):
    """Write rows as JSON lines and return the path."""
    path.write_text("\n".join(json.dumps(one) for one in lines) + "\n")
    return path


def judged(*, count=30):
    """Answers that are judged one by one."""
    return [
        {"prompt": row["prompt"], "completion": row["chosen" if i % 3 else "rejected"], "label": bool(i % 3)}
        for i, row in enumerate(rows(count=count))
    ]


def place(root, **changes):
    """A model, pairs and judged answers."""
    tiny.folder(root / "gpt2", n_positions=128, **changes)
    write(root / "pairs.jsonl", rows())
    write(root / "judged.jsonl", judged())
    return root


def settings(root, *, preference=None, data=None, model="gpt2", **training):
    """A few updates, the validation split evaluated."""
    options = {**sessions.OPTIONS, "max_steps": 6, "tokens_per_micro_batch": 400, "learning_rate": 1e-3, **training}
    tree = {"model": str(root / model), "training": options, "preference": preference or {}}
    tree["data"] = {"validation_fraction": 0.2, **(data or {})}
    tree["task"] = "auto"
    return build_options(RunConfig, tree)


def train(root, out, *, source="pairs.jsonl", method_name="lora", options=None, on_event=None, stop=None, **changes):
    """A run, or the next session of one."""
    method = methods.build_method(method_name, options or {})
    how = {"on_event": on_event or (lambda event: None), "stop": stop}
    return pipeline.train(root / source, settings=settings(root, **changes), candidates=[method], out=out, **how)


PARTS = (("user", "prompt"), ("assistant", "chosen"), ("assistant", "rejected"))
"""Who says each part of a pair."""


def message(role, text):
    """One turn."""
    return Message(role, text)
