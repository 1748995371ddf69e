"""Predict the labels of texts with a saved model and its tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finewright import tasks
from finewright.data import packing
from finewright.data.splits import Example
from finewright.inference.scoring import evaluate_split, score_split
from finewright.inference.texts import check_finite
from finewright.models import loading
from finewright.models.prepared import PreparedModel
from finewright.tasks.base import Evaluation, Task


@dataclass(frozen=True)
class Predictor:
    """A saved model with its tokenizer. `limit`: tokens of a text that are read. `keep_end`: longer texts lose their start."""

    prepared_model: PreparedModel
    tokenizer: Any
    task: Task
    limit: int
    keep_end: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the head's outputs."""
        return self.task.labels

    @property
    def device(self) -> str:
        """Device of the network."""
        return str(self.prepared_model.network.device)

    @classmethod
    def load(cls, folder: Path, *, limit: int, keep_end: bool, bfloat16: bool, task: str, device: str = "cpu") -> "Predictor":
        """Load the `model/` folder of a run onto `device`. `task`: name of the task it was trained for."""
        kind = tasks.get_task(task)
        how = {"auto_model": kind.auto_model, "reads": kind.reads}
        prepared_model, tokenizer = loading.reload_model(folder, **how, bfloat16=bfloat16, device=device)
        prepared_model.trainable_module.to(device)
        loaded_task = kind.for_saved_model(prepared_model.network.config)
        return cls(prepared_model, tokenizer, loaded_task, limit, keep_end)

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Return the model's outputs, float32, shape (N, C)."""
        encoded = packing.encode_texts(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end)
        return score_split(self.prepared_model, encoded)

    def evaluate(self, examples: Sequence[Example]) -> Evaluation:
        """Evaluate the model on labelled examples."""
        texts, targets = [example.text for example in examples], self.task.targets(examples)
        encoded = packing.encode_texts(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end, targets=targets)
        return evaluate_split(self.prepared_model, encoded, task=self.task)

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return label, its probability, and the probability of every label for each text, in order."""
        if not texts:
            return []
        scores = self.score(texts)
        check_finite(scores, texts)
        return self.task.predictions(texts, scores)
