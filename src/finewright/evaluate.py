"""A model over texts → scores, metrics, worst mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finewright import batches, compiling, fast, metrics, models, shapes, tasks
from finewright.batches import Encoded
from finewright.data import Row
from finewright.errors import ExitCode, UserError
from finewright.tuned import Tuned

PROBE_ROWS, PROBE_TOKENS = 32, 64
"""What a fresh head is settled on."""
EVALUATION_TOKENS = 4096
"""Token budget of a pass without gradients, a prompt's tokens counted."""


def score(tuned: Tuned, encoded: Encoded, *, num_labels: int) -> np.ndarray:
    """Class scores of every text in the given order, float32, shape (N, C). Texts of like length share a pass.

    Where memory runs out a pass is made again in two, and so are those that are left. A `UserError` when one
    text alone is too much.
    """
    device = str(tuned.network.get_input_embeddings().weight.device)
    scores = np.zeros((len(encoded.ids), num_labels), dtype=np.float32)
    lengths = [length + tuned.prompt_tokens for length in encoded.lengths]
    tuned.owner.eval()

    def run(rows: Sequence[int]) -> tuple[Sequence[int], np.ndarray]:
        batch = batches.collate(encoded, rows, device=device)
        return batch.rows, _score_batch(tuned, batch)

    for rows, found in batches.run_all(batches.by_length(lengths, budget=EVALUATION_TOKENS), lengths, run, doing="scoring"):
        scores[list(rows)] = found
    return scores


@torch.inference_mode()
def _score_batch(tuned: Tuned, batch: batches.Batch) -> np.ndarray:
    return tasks.logits(tuned, batch.ids, batch.layout, batch.states).float().cpu().numpy()


def settle_head(base: shapes.Base, texts: Sequence[str], *, bfloat16: bool = False) -> list[str]:
    """Scale a fresh head so that it starts near ln(classes) on the first of these texts; what there is to tell.

    `bfloat16`: the matrices give it already.
    """
    probe = batches.encode(base.origin.tokenizer, texts[:PROBE_ROWS], limit=PROBE_TOKENS)
    batch = batches.collate(probe, [row for row, length in enumerate(probe.lengths) if length])
    factor = tasks.settle_head(base.network, anatomy=base.anatomy, ids_T=batch.ids, layout=batch.layout, bfloat16=bfloat16)
    near = f"near ln({len(base.network.config.id2label)})"
    return [f"head: random start scaled by {factor:.3f}, so that the first loss is {near}"] if factor < 1 else []


def settle(tuned: Tuned, *, device: str = "cpu") -> None:
    """End training: the network takes the form, kernels included, in which `models.reload` brings it back.

    A whole model is frozen like any other then; an adapter's own matrices stay as they were trained.
    """
    compiling.end(tuned)
    if tuned.owner is tuned.network:
        tuned.network.requires_grad_(False)
    if tuned.bfloat16:
        models.use_bfloat16(tuned)
    fast.apply(tuned, device=device)
    tuned.owner.requires_grad_(False)
    tuned.owner.eval()


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax in float64, shape (N, C)."""
    shifted = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def require_text(text: Any, where: str) -> str:
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


def measure(tuned: Tuned, encoded: Encoded, *, labels: Sequence[str]) -> dict[str, Any]:
    """Metrics of a labelled split."""
    shares = probabilities(score(tuned, encoded, num_labels=len(labels)))
    return metrics.classification(shares, np.array(encoded.targets), labels=labels)


def prediction_lines(rows: Sequence[Row], shares: np.ndarray, *, labels: Sequence[str]) -> list[dict[str, Any]]:
    """One line per row: text, label, predicted, probability of the predicted label."""
    chosen = shares.argmax(axis=1)
    return [
        {"text": row.text, "label": row.label, "predicted": labels[pick], "probability": float(share[pick]), "where": row.where}
        for row, share, pick in zip(rows, shares, chosen, strict=True)
    ]


def worst_mistakes(rows: Sequence[Row], shares: np.ndarray, *, labels: Sequence[str], count: int = 10) -> list[dict[str, Any]]:
    """The wrong rows whose right label got the least probability, worst first."""
    lines = prediction_lines(rows, shares, labels=labels)
    numbers = {label: index for index, label in enumerate(labels)}
    for line, share in zip(lines, shares, strict=True):
        line["probability_of_label"] = float(share[numbers[line["label"]]])
    wrong = [line for line in lines if line["label"] != line["predicted"]]
    return sorted(wrong, key=lambda line: line["probability_of_label"])[:count]


def tested(tuned: Tuned, rows: Sequence[Row], encoded: Encoded, *, labels: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """(metrics of a labelled split with its worst mistakes, a line for every row)"""
    shares = probabilities(score(tuned, encoded, num_labels=len(labels)))
    measured = metrics.classification(shares, encoded.targets, labels=labels)
    measured["worst_mistakes"] = worst_mistakes(rows, shares, labels=labels)
    return measured, prediction_lines(rows, shares, labels=labels)


@dataclass(frozen=True)
class Predictor:
    """A saved model with its tokenizer, ready for texts. `limit`: tokens of the longest text it reads."""

    tuned: Tuned
    tokenizer: Any
    labels: tuple[str, ...]
    limit: int
    keep_end: bool

    @classmethod
    def load(cls, folder: Path, *, limit: int, keep_end: bool, bfloat16: bool, device: str = "cpu") -> "Predictor":
        """From the `model/` folder of a run, ready on `device`."""
        tuned, tokenizer = models.reload(folder, bfloat16=bfloat16, device=device)
        tuned.owner.to(device)
        names = tuned.network.config.id2label
        return cls(tuned, tokenizer, tuple(names[index] for index in range(len(names))), limit, keep_end)

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Class scores, float32, shape (N, C)."""
        encoded = batches.encode(self.tokenizer, texts, limit=self.limit, keep_end=self.keep_end)
        return score(self.tuned, encoded, num_labels=len(self.labels))

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
