"""Score the texts of a split with a model: outputs, and the task's metrics and predictions."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from finewright.data import packing
from finewright.data.packing import EncodedSplit
from finewright.models import forward
from finewright.models.prepared import PreparedModel
from finewright.tasks.base import Task
from finewright.tasks.evaluation import Evaluation

EVALUATION_TOKENS = 4096
"""Token budget of a batch without gradients, prompt tokens included."""


def score_batches(
    prepared_model: PreparedModel, encoded: EncodedSplit, *, rows: Sequence[int] | None = None
) -> Iterator[tuple[Sequence[int], np.ndarray]]:
    """Yield (rows, outputs in float32) of a split, or of these rows of it. Texts of similar length share a batch.

    If memory runs out, this batch and all remaining ones are split in two. Raise `UserError` if a single text does not
    fit.
    """
    device = str(prepared_model.network.get_input_embeddings().weight.device)
    lengths = [length + prepared_model.prompt_tokens for length in encoded.lengths]
    prepared_model.trainable_module.eval()

    def run(some: Sequence[int]) -> tuple[Sequence[int], np.ndarray]:
        batch = packing.collate(encoded, some, device=device)
        return batch.rows, _score_batch(prepared_model, batch)

    batches = packing.evaluation_batches(lengths if rows is None else [lengths[row] for row in rows], budget=EVALUATION_TOKENS)
    if rows is not None:
        batches = [tuple(rows[number] for number in numbers) for numbers in batches]
    yield from packing.map_with_oom_split(batches, lengths, run, doing="scoring")


@torch.inference_mode()
def _score_batch(prepared_model: PreparedModel, batch: packing.Batch) -> np.ndarray:
    return forward.compute_outputs(prepared_model, batch).float().cpu().numpy()


def score_split(prepared_model: PreparedModel, encoded: EncodedSplit) -> np.ndarray:
    """Return the outputs of every text in the given order, float32, shape (N, C)."""
    return join_outputs(list(score_batches(prepared_model, encoded)), num_rows=len(encoded.ids))


def score_rows(prepared_model: PreparedModel, encoded: EncodedSplit, rows: Sequence[int]) -> np.ndarray:
    """Return the outputs of these rows of a split, in this order, float32, shape (N, C)."""
    places = {row: place for place, row in enumerate(rows)}
    scored = [([places[row] for row in some], outputs) for some, outputs in score_batches(prepared_model, encoded, rows=rows)]
    return join_outputs(scored, num_rows=len(rows))


def join_outputs(scored: Sequence[tuple[Sequence[int], np.ndarray]], *, num_rows: int) -> np.ndarray:
    """Return the outputs of all texts in order, from those of batches. Where the outputs of a batch have another length than
    those of others, as its texts have fewer words, zeros follow them."""
    shapes = [outputs.shape[1:] for _, outputs in scored] or [(0,)]
    joined: np.ndarray = np.zeros((num_rows, *(max(sizes) for sizes in zip(*shapes, strict=True))), dtype=np.float32)
    for rows, outputs in scored:
        joined[(list(rows), *(slice(size) for size in outputs.shape[1:]))] = outputs
    return joined


def evaluate_split(prepared_model: PreparedModel, encoded: EncodedSplit, *, task: Task) -> Evaluation:
    """Evaluate the model on a labelled split. The result gives metrics, mistakes and predictions."""
    evaluation = task.start_evaluation(encoded.targets)
    for rows, outputs in score_batches(prepared_model, encoded):
        evaluation.update(rows, outputs)
    return evaluation
