"""A saved model with its tokenizer, ready for texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finewright import tasks
from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.data.splits import Example
from finewright.inference.scoring import evaluate_split, score_split
from finewright.models import loading
from finewright.models.prepared import PreparedModel
from finewright.tasks.base import Evaluation, Task


def check_text(text: Any, where: str) -> str:
    """A text as the tokenizer wants it: words in Unicode; anything else is a `UserError` that names its place."""
    if not isinstance(text, str) or not text.strip():
        found = "an empty text has no label" if isinstance(text, str) else f"wanted text, found {type(text).__name__}"
        raise UserError(found, where=where, fix="leave it out", code=ExitCode.BAD_DATA)
    try:
        text.encode()
    except UnicodeEncodeError:
        what = "bytes that are not UTF-8, or half of a surrogate pair"
        raise UserError(what, where=where, fix="write it in UTF-8", code=ExitCode.BAD_DATA) from None
    return text


@dataclass(frozen=True)
class Predictor:
    """A saved model with its tokenizer, ready for texts. `limit`: tokens of the longest text it reads."""

    prepared_model: PreparedModel
    tokenizer: Any
    task: Task
    limit: int
    keep_end: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the head's outputs."""
        return self.task.labels

    @classmethod
    def load(
        cls, folder: Path, *, limit: int, keep_end: bool, bfloat16: bool, device: str = "cpu", task: str = tasks.DEFAULT
    ) -> "Predictor":
        """From the `model/` folder of a run, ready on `device`. `task`: its name."""
        prepared_model, tokenizer = loading.reload_model(folder, bfloat16=bfloat16, device=device)
        prepared_model.trainable_module.to(device)
        found = tasks.get_task(task).for_saved_model(prepared_model.network.config)
        return cls(prepared_model, tokenizer, found, limit, keep_end)

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """The model's outputs, float32, shape (N, C)."""
        encoded = packing.encode_texts(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end)
        return score_split(self.prepared_model, encoded)

    def evaluate(self, examples: Sequence[Example]) -> Evaluation:
        """Score labelled examples."""
        texts, targets = [example.text for example in examples], self.task.targets(examples)
        encoded = packing.encode_texts(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end, targets=targets)
        return evaluate_split(self.prepared_model, encoded, task=self.task)

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """For every text, in order: label, its probability, and the probability of every label."""
        if not texts:
            return []
        scores = self.score(texts)
        if not np.isfinite(scores).all():
            bad = texts[int(np.argwhere(~np.isfinite(scores))[0, 0])]
            raise UserError(
                f"the model's scores are no numbers for {bad[:60]!r}", fix="the model is damaged", code=ExitCode.NON_FINITE
            )
        return self.task.predictions(texts, scores)
