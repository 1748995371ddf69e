"""A saved model with its tokenizer, ready for texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.inference.scoring import score_split
from finewright.models import loading
from finewright.models.prepared import PreparedModel
from finewright.tasks.text_classification import probabilities


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
    labels: tuple[str, ...]
    limit: int
    keep_end: bool

    @classmethod
    def load(cls, folder: Path, *, limit: int, keep_end: bool, bfloat16: bool, device: str = "cpu") -> "Predictor":
        """From the `model/` folder of a run, ready on `device`."""
        prepared_model, tokenizer = loading.reload_model(folder, bfloat16=bfloat16, device=device)
        prepared_model.trainable_module.to(device)
        names = prepared_model.network.config.id2label
        return cls(prepared_model, tokenizer, tuple(names[index] for index in range(len(names))), limit, keep_end)

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Class scores, float32, shape (N, C)."""
        encoded = packing.encode_texts(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end)
        return score_split(self.prepared_model, encoded, num_labels=len(self.labels))

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
        shares = probabilities(scores)
        chosen = shares.argmax(axis=1)
        return [
            {
                "text": text,
                "label": self.labels[pick],
                "probability": float(share[pick]),
                "probabilities": dict(zip(self.labels, share.tolist(), strict=True)),
            }
            for text, share, pick in zip(texts, shares, chosen, strict=True)
        ]
