"""Who takes part in `accuracy.py`: each trains on the rows of a folder and predicts its test rows. Runs as its own process.

Nothing of Finewright is imported but by its own contestants: SetFit may need a Python that has other libraries.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_TEXTS, MAX_LENGTH, NUM_EPOCHS = 64, 128, 3
PICKED_ON = 0.2
"""Share of the training rows that the Trainer's rate is picked on where there are no validation rows."""
RATES = {"full": (2e-5, 5e-5, 2e-4), "lora": (1e-4, 3e-4, 2e-3)}
"""The usual rate, and a lower and a higher one: those of the best of three."""


@dataclass(frozen=True)
class Cell:
    """One run. `folder`: has the splits as JSON lines. `model`: a folder, or empty for who reads none."""

    method: str
    folder: Path
    model: str
    seed: int
    setfit_steps: int = -1

    def rows(self, split: str) -> list[dict[str, str]]:
        path = self.folder / f"{split}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    @property
    def labels(self) -> list[str]:
        return sorted({row["label"] for row in self.rows("train")})


Found = tuple[list[str], dict[str, Any]]
"""A label for each test row, and what else is worth a note."""


def run_finewright(cell: Cell) -> Found:
    """Finewright with its defaults: without a validation file it holds rows of the training file out."""
    import finewright
    from finewright import baselines

    method = OWN[cell.method]
    options: dict[str, Any] = {"seed": cell.seed}
    if method not in baselines.baseline_names():
        options["training.num_threads"] = 1
    with tempfile.TemporaryDirectory() as place:
        run = finewright.train(cell.folder, model=cell.model or "mini", method=method, output_dir=f"{place}/run", options=options)
        lines = [json.loads(line) for line in run.folder.predictions.read_text(encoding="utf-8").splitlines()]
        chosen = run.result.method
    if [line["text"] for line in lines] != [row["text"] for row in cell.rows("test")]:
        raise ValueError("the predictions are not those of the test rows")
    return [line["predicted"] for line in lines], {"chosen": chosen}


def run_tfidf(cell: Cell) -> Found:
    """Words and pairs of words, weighted, and scikit-learn's logistic regression at its defaults."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = cell.rows("train")
    fitted = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=1.0, max_iter=1000))
    fitted.fit([row["text"] for row in rows], [row["label"] for row in rows])
    return fitted.predict([row["text"] for row in cell.rows("test")]).tolist(), {}


def run_frozen(cell: Cell) -> Found:
    """The mean of the last hidden states, and scikit-learn's logistic regression at its defaults."""
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer, network = AutoTokenizer.from_pretrained(cell.model), AutoModel.from_pretrained(cell.model).float().eval()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # decoders have none

    def features(texts: list[str]) -> Any:
        means = []
        for start in range(0, len(texts), BATCH_TEXTS):
            part = texts[start : start + BATCH_TEXTS]
            batch = tokenizer(part, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            with torch.inference_mode():
                states = network(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            means.append(((states * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(means)

    rows = cell.rows("train")
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(features([row["text"] for row in rows]), [row["label"] for row in rows])
    return fitted.predict(features([row["text"] for row in cell.rows("test")])).tolist(), {}


def run_trainer(cell: Cell) -> Found:
    """Hugging Face Trainer (and PEFT) at its usual rate, three epochs. With validation rows, the best epoch's weights."""
    from trainer_baseline import LEARNING_RATES

    kind = cell.method.removeprefix("trainer-")
    rate = LEARNING_RATES[kind]
    _, predicted = train_once(cell, kind, rate, training=cell.rows("train"), validation=cell.rows("validation"))
    return predicted, {"learning_rate": rate}


def run_trainer_best(cell: Cell) -> Found:
    """The best of three rates by validation accuracy.

    Without validation rows a fifth of the training rows decides, and the chosen rate then trains on all of them.
    """
    from sklearn.model_selection import train_test_split

    kind = cell.method.removeprefix("trainer-").removesuffix("-best")
    rows, validation = cell.rows("train"), cell.rows("validation")
    training, held = rows, validation
    if not validation:
        labels = [row["label"] for row in rows]
        held_rows = max(round(PICKED_ON * len(rows)), len(set(labels)))  # stratified: at least one of each label
        training, held = train_test_split(rows, test_size=held_rows, stratify=labels, random_state=cell.seed)
    tried = {rate: train_once(cell, kind, rate, training=training, validation=held) for rate in RATES[kind]}
    best = max(tried, key=lambda rate: tried[rate][0])  # the lowest of equally good ones
    predicted = tried[best][1] if validation else train_once(cell, kind, best, training=rows, validation=[])[1]
    return predicted, {"learning_rate": best}


def train_once(
    cell: Cell, kind: str, rate: float, *, training: list[dict[str, str]], validation: list[dict[str, str]]
) -> tuple[float, list[str]]:
    """(Accuracy on the validation rows, the labels of the test rows) of one training."""
    import torch
    from trainer_baseline import encode, give_padding, make_trainer, prepare
    from transformers import AutoTokenizer, set_seed

    torch.set_num_threads(1)
    set_seed(cell.seed)
    tokenizer, network = AutoTokenizer.from_pretrained(cell.model), prepare(kind, cell.model, len(cell.labels))
    give_padding(tokenizer, network)

    def encoded(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
        texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
        return encode(tokenizer, texts, labels, labels=cell.labels) if rows else []  # a tokenizer takes no empty list

    settings: dict[str, Any] = {"save_strategy": "no", "eval_strategy": "no"}
    if validation:
        settings = {"save_strategy": "epoch", "eval_strategy": "epoch", "save_total_limit": 1}
        settings |= {"load_best_model_at_end": True, "metric_for_best_model": "accuracy"}
    with tempfile.TemporaryDirectory() as place:
        trainer = make_trainer(
            network,
            place,
            tokenizer=tokenizer,
            training=encoded(training),
            validation=encoded(validation),
            num_train_epochs=NUM_EPOCHS,
            learning_rate=rate,
            seed=cell.seed,
            **settings,
        )
        trainer.train()
        accuracy = trainer.evaluate()["eval_accuracy"] if validation else 0.0
        test = [{**row, "label": cell.labels[0]} for row in cell.rows("test")]  # the labels are not needed, and may be new ones
        chosen = trainer.predict(encoded(test)).predictions.argmax(-1)
    return accuracy, [cell.labels[pick] for pick in chosen]


def run_setfit(cell: Cell) -> Found:
    """SetFit with its defaults: all pairs of the training rows, one epoch, then a logistic regression."""
    import setfit
    import torch
    from datasets import Dataset

    torch.set_num_threads(1)
    rows = cell.rows("train")
    data = Dataset.from_dict({"text": [row["text"] for row in rows], "label": [cell.labels.index(row["label"]) for row in rows]})
    with tempfile.TemporaryDirectory() as place:
        settings = setfit.TrainingArguments(
            output_dir=place, seed=cell.seed, max_steps=cell.setfit_steps, report_to="none", save_strategy="no"
        )
        model = setfit.SetFitModel.from_pretrained(cell.model)
        setfit.Trainer(model=model, args=settings, train_dataset=data).train()
        chosen = model.predict([row["text"] for row in cell.rows("test")], as_numpy=True)
    return [cell.labels[int(pick)] for pick in chosen], {"setfit": setfit.__version__, "max_steps": cell.setfit_steps}


OWN = {
    "auto": "auto",
    "probe": "frozen-features",
    "contrastive": "contrastive",
    "lora": "lora",
    "full": "full",
    "freeze": "freeze",
    "bag-of-words": "bag-of-words",
}
"""Finewright's: the name in the tables, and the method's."""
CONTESTANTS: dict[str, Callable[[Cell], Found]] = {
    **dict.fromkeys(OWN, run_finewright),
    "tfidf-regression": run_tfidf,
    "frozen-regression": run_frozen,
    "trainer-full": run_trainer,
    "trainer-lora": run_trainer,
    "trainer-full-best": run_trainer_best,
    "trainer-lora-best": run_trainer_best,
    "setfit": run_setfit,
}
WITHOUT_MODEL = ("bag-of-words", "tfidf-regression")


def main() -> None:
    """Run the cell that the first argument describes; the last line printed is what came of it."""
    told = json.loads(sys.argv[1])
    cell = Cell(**{**told, "folder": Path(told["folder"])})
    predicted, noted = CONTESTANTS[cell.method](cell)
    right = "".join("01"[found == row["label"]] for found, row in zip(predicted, cell.rows("test"), strict=True))
    print(json.dumps({"accuracy": right.count("1") / len(right), "right": right, **noted}))


if __name__ == "__main__":
    main()
