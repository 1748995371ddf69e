"""A model over texts: class scores and metrics."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from finewright.data import packing
from finewright.data.packing import EncodedSplit
from finewright.data.splits import Example
from finewright.models import forward
from finewright.models.prepared import PreparedModel
from finewright.tasks import metrics
from finewright.tasks.text_classification import prediction_lines, probabilities, worst_mistakes

EVALUATION_TOKENS = 4096
"""Token budget of a pass without gradients, a prompt's tokens counted."""


def score_split(prepared_model: PreparedModel, encoded: EncodedSplit, *, num_labels: int) -> np.ndarray:
    """Class scores of every text in the given order, float32, shape (N, C). Texts of like length share a pass.

    Where memory runs out a pass is made again in two, and so are those that are left. A `UserError` when one
    text alone is too much.
    """
    device = str(prepared_model.network.get_input_embeddings().weight.device)
    scores = np.zeros((len(encoded.ids), num_labels), dtype=np.float32)
    lengths = [length + prepared_model.prompt_tokens for length in encoded.lengths]
    prepared_model.trainable_module.eval()

    def run(rows: Sequence[int]) -> tuple[Sequence[int], np.ndarray]:
        batch = packing.collate(encoded, rows, device=device)
        return batch.rows, _score_batch(prepared_model, batch)

    for rows, found in packing.map_with_oom_split(
        packing.evaluation_batches(lengths, budget=EVALUATION_TOKENS), lengths, run, doing="scoring"
    ):
        scores[list(rows)] = found
    return scores


@torch.inference_mode()
def _score_batch(prepared_model: PreparedModel, batch: packing.Batch) -> np.ndarray:
    return forward.compute_logits(prepared_model, batch.ids, batch.layout, batch.states).float().cpu().numpy()


def evaluate_split(prepared_model: PreparedModel, encoded: EncodedSplit, *, labels: Sequence[str]) -> dict[str, Any]:
    """Metrics of a labelled split."""
    shares = probabilities(score_split(prepared_model, encoded, num_labels=len(labels)))
    return metrics.classification_metrics(shares, np.array(encoded.targets), labels=labels)


def test_split(
    prepared_model: PreparedModel, rows: Sequence[Example], encoded: EncodedSplit, *, labels: Sequence[str]
) -> tuple[dict[str, Any], Any]:
    """(metrics of a labelled split with its worst mistakes, a line for every row)"""
    shares = probabilities(score_split(prepared_model, encoded, num_labels=len(labels)))
    measured = metrics.classification_metrics(shares, encoded.targets, labels=labels)
    measured["worst_mistakes"] = worst_mistakes(rows, shares, labels=labels)
    return measured, prediction_lines(rows, shares, labels=labels)
