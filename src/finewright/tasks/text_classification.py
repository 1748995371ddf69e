"""Text classification: targets, loss and predictions."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from finewright.data.splits import Example


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax in float64, shape (N, C)."""
    shifted = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def prediction_lines(rows: Sequence[Example], shares: np.ndarray, *, labels: Sequence[str]) -> list[dict[str, Any]]:
    """One line per row: text, label, predicted, probability of the predicted label."""
    chosen = shares.argmax(axis=1)
    return [
        {"text": row.text, "label": row.label, "predicted": labels[pick], "probability": float(share[pick]), "where": row.where}
        for row, share, pick in zip(rows, shares, chosen, strict=True)
    ]


def worst_mistakes(
    rows: Sequence[Example], shares: np.ndarray, *, labels: Sequence[str], count: int = 10
) -> list[dict[str, Any]]:
    """The wrong rows whose right label got the least probability, worst first."""
    lines = prediction_lines(rows, shares, labels=labels)
    numbers = {label: index for index, label in enumerate(labels)}
    for line, share in zip(lines, shares, strict=True):
        line["probability_of_label"] = float(share[numbers[line["label"]]])
    wrong = [line for line in lines if line["label"] != line["predicted"]]
    return sorted(wrong, key=lambda line: line["probability_of_label"])[:count]


@dataclass(frozen=True)
class TextClassification:
    """One label out of several for each text. `class_weights`: shape (C,) or None for equal weights."""

    labels: tuple[str, ...]
    class_weights: tuple[float, ...] | None = None

    @property
    def expected_first_loss(self) -> float:
        """Loss of a head that knows nothing: ln(classes), in nats."""
        return math.log(len(self.labels))

    def targets(self, labels: Iterable[str]) -> list[int]:
        """Class number of each label."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        return [numbers[label] for label in labels]

    def losses(self, logits_NC: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and weight of every text, both of shape (N,)."""
        losses = torch.nn.functional.cross_entropy(logits_NC.float(), targets_N, reduction="none")
        if self.class_weights is None:
            return losses, torch.ones_like(losses)
        return losses, torch.tensor(self.class_weights, dtype=losses.dtype, device=losses.device)[targets_N]


def infer_task(labels: tuple[str, ...], *, training_labels: Sequence[str], class_weights: str) -> TextClassification:
    """The task for these labels; `balanced` weighs class c by rows / (classes · rows of c), as scikit-learn does."""
    if class_weights != "balanced":
        return TextClassification(labels)
    counts = Counter(training_labels)
    return TextClassification(labels, tuple(len(training_labels) / (len(labels) * counts[label]) for label in labels))
