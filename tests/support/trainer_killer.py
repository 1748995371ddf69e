"""The control of `killer.py`: the same random kills on Hugging Face `Trainer` (PEFT for lora), resumed as documented.

    python tests/trainer_killer.py KILLS [SEED]

The same tiny model, rows, accumulation, dropout, cadences of saving and way of killing. The Trainer gets full determinism, fixed
seeds, one thread, two kept checkpoints; a session that finds a checkpoint (`get_last_checkpoint`) goes on by
`resume_from_checkpoint`, as in the example scripts. Only the final weights are compared. Prints one JSON object.
"""

import csv
import functools
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from support import sessions
from support.killer import MOST_KILLS, run_session, run_with_kills

METHODS = ("lora", "full")
STEPS, BATCH_ROWS, ACCUMULATION, KEPT = 12, 4, 2, 2
NEVER = 500
"""Their default of `save_steps`, which no run here reaches before its end."""


def network(method_name: str, folder: Path) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(0)  # the head is new: every session must draw the same one
    made = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    made.config.pad_token_id = 0
    if method_name == "full":
        return made
    return get_peft_model(made, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.1, target_modules=["c_attn"]))


def rows(root: Path) -> list[dict[str, Any]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(root / "gpt2")
    with open(root / "tickets.csv", newline="") as handle:
        found = list(csv.DictReader(handle))
    labels = sorted({row["label"] for row in found})
    return [{**tokenizer(row["text"]), "labels": labels.index(row["label"])} for row in found]


def train(root: Path, out: Path, *, method_name: str, save_steps: int) -> None:
    """One session: from the last checkpoint, if there is one, to the end, then the weights are saved."""
    import torch
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    torch.set_num_threads(1)
    settings = TrainingArguments(
        str(out / "sessions"),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH_ROWS,
        gradient_accumulation_steps=ACCUMULATION,
        learning_rate=3e-4,
        use_cpu=True,
        seed=0,
        data_seed=0,
        full_determinism=True,
        eval_strategy="steps",
        eval_steps=4,
        logging_steps=1,
        save_strategy="steps",
        save_steps=save_steps,
        save_total_limit=KEPT,
        report_to="none",
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(root / "gpt2")
    tokenizer.pad_token = "<|endoftext|>"
    every = rows(root)
    trainer = Trainer(
        network(method_name, root / "gpt2"),
        settings,
        train_dataset=every[:-12],
        eval_dataset=every[-12:],
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    last = get_last_checkpoint(settings.output_dir) if os.path.isdir(settings.output_dir) else None
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(out / "final"))


def weights(out: Path) -> str:
    """SHA-256 of the final weights."""
    (found,) = (out / "final").glob("*.safetensors")
    return hashlib.sha256(found.read_bytes()).hexdigest()


def checkpoints(out: Path) -> list[Path]:
    return sorted(out.glob("sessions/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def committed_step(out: Path) -> int:
    """Of the newest checkpoint, 0 without one."""
    found = checkpoints(out)
    return int(found[-1].name.split("-")[1]) if found else 0


class Control:
    """Kills one run after the other and counts."""

    def __init__(self, root: Path, *, seed: int) -> None:
        self.root, self.dice = sessions.place(root), random.Random(seed)
        names = ("kills", "runs", "lost", "different", "stepped_back", "gone_on", "begun_again")
        self.counts = dict.fromkeys((*names, "lost_with_an_older_one", "lost_with_none_older", "different_after_help"), 0)
        self.reasons: Counter[str] = Counter()
        self.expected: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def work(self, out: Path, *, method_name: str, save_steps: int) -> None:
        """Run a session, which leaves the reason when it ends by an exception."""
        try:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            train(self.root, out, method_name=method_name, save_steps=save_steps)
        except BaseException as error:
            text = str(error).replace(str(out), "RUN").split("\n")[0][:160]
            (self.root / "reason.txt").write_text(f"{type(error).__name__}: {text}")
            raise

    def reference(self, method_name: str) -> None:
        """What an uninterrupted run comes to, twice, and the duration of a session that saves every step."""
        for name, save_steps in (("whole", NEVER), ("again", 1)):
            out, began = self.root / f"{name}-{method_name}", time.monotonic()
            code = run_session(functools.partial(self.work, out, method_name=method_name, save_steps=save_steps), seconds=None)
            assert code == 0, (self.root / "reason.txt").read_text()
            self.seconds[method_name] = time.monotonic() - began
            assert self.expected.setdefault(method_name, weights(out)) == weights(out), "the uninterrupted run must repeat itself"

    def run(self, method_name: str, *, kills: int) -> None:
        """One run, killed at most so often, then left to finish."""
        out, counts = self.root / "run", self.counts
        work = functools.partial(self.work, out, method_name=method_name, save_steps=self.dice.choice([1, 2, 3, NEVER]))
        instants = (self.dice.uniform(0, self.seconds[method_name]) for _ in range(kills))  # drawn as sessions start
        code = run_with_kills(work, instants=instants, counts=counts, reached=lambda: committed_step(out))
        counts["different"] += code == 0 and weights(out) != self.expected[method_name]
        if code != 0:
            self.help_on(out, work, method_name=method_name)
        shutil.rmtree(out, ignore_errors=True)

    def help_on(self, out: Path, work: Any, *, method_name: str) -> None:
        """What a person could save of a run that does not go on: remove the newest checkpoint by hand, and again."""
        self.reasons[f"{(self.root / 'reason.txt').read_text()}"] += 1
        older = len(checkpoints(out)) > 1
        self.counts["lost_with_an_older_one" if older else "lost_with_none_older"] += 1
        code = 1
        while checkpoints(out) and code != 0:
            shutil.rmtree(checkpoints(out)[-1])
            code = run_session(work, seconds=None)
        self.counts["different_after_help"] += code != 0 or weights(out) != self.expected[method_name]


def main() -> None:
    """The command."""
    import transformers

    kills, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    import peft  # noqa: F401  imported once, before the forks
    from transformers import Trainer  # noqa: F401

    with tempfile.TemporaryDirectory() as place:
        control = Control(Path(place), seed=seed)
        for method_name in METHODS:
            control.reference(method_name)
        while control.counts["kills"] < kills:
            method_name = METHODS[control.counts["runs"] % len(METHODS)]
            control.run(method_name, kills=min(MOST_KILLS, kills - control.counts["kills"]))
    print(
        json.dumps({"seed": seed, **control.counts, "transformers": transformers.__version__, "reasons": dict(control.reasons)})
    )


if __name__ == "__main__":
    main()
