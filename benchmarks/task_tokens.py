"""Token classification on `entities`: finewright against the Hugging Face Trainer on the same rows, by entity F1.

    python benchmarks/task_tokens.py MODEL_FOLDER

The Trainer runs 10 epochs at three learning rates, keeps the epoch with the lowest validation loss, and reads the same words;
finewright chooses by itself. Both are measured by the same function, three seeds each, one thread.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

SEEDS = (0, 1, 2)
RATES = (2e-5, 5e-5, 1e-4)
"""The Trainer's default is the second one."""
EPOCHS, BATCH, LIMIT = 10, 16, 128


def run_finewright(model: str, seed: int) -> dict[str, Any]:
    """Train with the defaults of full fine-tuning; return F1 and seconds of training."""
    import finewright

    with tempfile.TemporaryDirectory() as place:
        options = {"training.num_threads": 1, "training.baselines": "off"}
        run = finewright.train("entities", model=model, method="full", seed=seed, output_dir=Path(place) / "run", options=options)
        assert run.result.metrics.test is not None, "the data has test rows"
        return {"entity_f1": run.result.metrics.test.model_dump()["entity_f1"], "seconds": run.result.train_seconds}


def run_trainer(model: str, seed: int, rate: float) -> dict[str, Any]:
    """Train with the Hugging Face Trainer; return F1 and seconds of training, evaluations included."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    from finewright.core.config import DataConfig
    from finewright.data.dataset import read_dataset
    from finewright.data.tag_schemes import complete_tags
    from finewright.tasks.token_classification import TokenClassification

    data = read_dataset("entities", options=DataConfig(), row_kind="tagged-tokens")
    task = TokenClassification(complete_tags(data.labels))
    tokenizer = AutoTokenizer.from_pretrained(model)
    encoded = {name: task.encode_evaluated(tokenizer, getattr(data, name), limit=LIMIT, keep_end=False) for name in _SPLITS}
    rows = {
        name: [
            {"input_ids": list(map(int, ids)), "labels": list(map(int, tags))}
            for ids, tags in zip(one.ids, one.tags, strict=True)
        ]
        for name, one in encoded.items()
    }
    torch.manual_seed(seed)
    network = AutoModelForTokenClassification.from_pretrained(model, num_labels=len(task.labels))
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place,
            learning_rate=rate,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            seed=seed,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(
            network,
            arguments,
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            data_collator=DataCollatorForTokenClassification(tokenizer),
        )
        began = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - began
        scores = trainer.predict(rows["test"]).predictions
    evaluation = task.start_evaluation(encoded["test"].targets)
    for number, (one, marks) in enumerate(zip(scores, encoded["test"].trained, strict=True)):
        evaluation.update([number], one[: len(marks)][np.asarray(marks)][None])
    return {"entity_f1": evaluation.metrics()["entity_f1"], "seconds": seconds}


_SPLITS = ("train", "validation", "test")


def main() -> None:
    """Print one JSON line for each run, and the means."""
    torch.set_num_threads(1)
    cells: dict[str, list[dict[str, Any]]] = {}
    for seed in SEEDS:
        cells.setdefault("finewright", []).append(run_finewright(sys.argv[1], seed))
        for rate in RATES:
            cells.setdefault(f"trainer {rate:g}", []).append(run_trainer(sys.argv[1], seed, rate))
        for name, found in cells.items():
            print(json.dumps({"name": name, "seed": seed, **found[-1]}), flush=True)
    for name, found in cells.items():
        f1, seconds = (float(np.mean([one[key] for one in found])) for key in ("entity_f1", "seconds"))
        print(f"{name}: entity F1 {f1:.1%}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
