"""Start a new head as a linear probe: a logistic regression on the frozen features of the training texts.

While a random head has not learnt anything yet, it changes the pre-trained layers below it to no use. Fitting the head first,
then fine-tuning, keeps what these layers know (Kumar et al. 2022, arXiv:2202.10054).

Shape suffixes: N texts, F features, C outputs.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data import packing
from finewright.data.packing import EncodedSplit
from finewright.inference import scoring
from finewright.models import forward
from finewright.models.head_start import HeadLayers, recording_inputs
from finewright.models.prepared import PreparedModel
from finewright.tasks import ridge_regression
from finewright.tasks.base import Task
from finewright.tasks.head_weights import HeadNotFitted, HeadWeights
from finewright.training.state import preserving_random_state

MOST_ROWS, MOST_PER_LABEL = 10_000, 4
"""Most training rows that the regression is fitted to, or so many of each label if that is more; of more rows, an even share of
each label."""
NUM_SIZED = 256
"""Rows from which the size of the states is taken."""
NUM_CHECKED, CHECK_SLACK = 64, 0.1
"""Rows on which the network's loss with the new head is compared with the regression's, and the largest difference: a share of
the loss of guessing, or of 1 nat if that is more."""


@dataclass(frozen=True)
class ProbeStart:
    """How a head started. `strength`, `described`: as in `HeadWeights`. `softness`: the factor of its outputs. `loss_spread`:
    standard deviation of training rows' losses, with dropout. `test`: metrics of the test rows, None without such rows.
    """

    strength: float
    num_rows: int
    seconds: float
    loss_spread: float
    test: dict[str, Any] | None = None
    described: str = ""
    softness: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, JSON-ready."""
        return asdict(self)


def start_from_probe(
    prepared_model: PreparedModel,
    task: Task,
    *,
    new: Sequence[str],
    train: EncodedSplit,
    test: EncodedSplit | None = None,
    softened: bool = True,
) -> ProbeStart:
    """Set the head to a regression on what its last layer reads, without dropout; new hidden layers start near the identity.

    `new`: as in `BaseNetwork`. `test`: rows to measure the regression on. `softened`: training follows, so the head starts as
    uncertain about the training rows as it is about rows that are left out (`head_weights.find_softness`).

    Raise `HeadNotFitted` with the reason, and the head as it was, if the task cannot fit one.
    """
    began = time.monotonic()
    layers = HeadLayers.find(prepared_model, new=new)
    before = layers.weights()
    rows = choose_rows(train.targets, num_labels=len(task.labels))
    try:
        with preserving_random_state(layers.last.weight.device):
            for layer in layers.hidden:
                layers.set_near_identity(layer, read_inputs(prepared_model, train, layer=layer, rows=rows[:NUM_SIZED]))
            features_NF = read_inputs(prepared_model, train, layer=layers.last, rows=rows)
            head = task.fit_head(features_NF, [train.targets[row] for row in rows], has_bias=layers.last.bias is not None)
            softness = head.softness if softened else 1.0
            head = head.soften() if softened else head
            layers.set_last(head.weight, head.bias)
            spread = _check_loss(prepared_model, task, train, rows=rows, scores_NC=head.scores(features_NF))
            measured = _measure_test(prepared_model, task, test, layers=layers, head=head)
    except HeadNotFitted:
        layers.set_weights(before)
        raise
    return ProbeStart(head.strength, len(rows), time.monotonic() - began, spread, measured, head.described, softness)


def most_rows(num_labels: int) -> int:
    """Return how many training rows the regression is fitted to at most."""
    return max(MOST_ROWS, MOST_PER_LABEL * num_labels)


def choose_rows(targets: Sequence[Any], *, num_labels: int = 0) -> list[int]:
    """Return all rows, or `most_rows` of them, ascending: an even share of each label, or all its rows if they are fewer; of
    numbers rows evenly over them in order."""
    most = most_rows(num_labels)
    if len(targets) <= most:
        return list(range(len(targets)))
    if isinstance(targets[0], float):
        return ridge_regression.choose_evenly(np.asarray(targets), most).tolist()
    found = np.asarray(targets)
    if found.ndim > 1:  # several labels a row: evenly over all rows
        return np.linspace(0, len(targets) - 1, most).round().astype(int).tolist()
    by_label = sorted((np.flatnonzero(found == target) for target in np.unique(found)), key=len)
    chosen: list[int] = []
    for number, rows in enumerate(by_label):
        share = min(len(rows), (most - len(chosen)) // (len(by_label) - number))
        chosen += rows[np.linspace(0, len(rows) - 1, share).round().astype(int)].tolist()
    return sorted(chosen)


def read_inputs(
    prepared_model: PreparedModel, encoded: EncodedSplit, *, layer: torch.nn.Linear, rows: Sequence[int]
) -> np.ndarray:
    """Return what a layer of the head reads for these rows of a split, float32, shape (N, F), without dropout."""
    places = {row: place for place, row in enumerate(rows)}
    inputs_NF: np.ndarray = np.zeros((len(rows), layer.in_features), dtype=np.float32)
    with recording_inputs(layer) as recorder:
        for some, _ in scoring.score_batches(prepared_model, encoded, rows=rows):
            inputs_NF[[places[row] for row in some]] = recorder.take()
    return inputs_NF


def _measure_test(
    prepared_model: PreparedModel, task: Task, test: EncodedSplit | None, *, layers: HeadLayers, head: HeadWeights
) -> dict[str, Any] | None:
    if test is None or not test.ids:
        return None
    features_NF = read_inputs(prepared_model, test, layer=layers.last, rows=range(len(test.ids)))
    evaluation = task.start_evaluation(test.targets)
    evaluation.update(range(len(test.ids)), head.scores(features_NF))
    return evaluation.metrics()


def _check_loss(
    prepared_model: PreparedModel, task: Task, train: EncodedSplit, *, rows: Sequence[int], scores_NC: np.ndarray
) -> float:
    """Compare the network's loss with the regression's; return the standard deviation of the rows' losses with dropout.

    Raise `UserError` if it is not the same: then rows, labels or head do not match. Raise `HeadNotFitted` if with dropout, as in
    training, the head is worse than guessing: features that hardly differ from text to text drown in its noise.
    """
    places = np.unique(np.linspace(0, len(rows) - 1, NUM_CHECKED).round().astype(int)).tolist()
    place_of = {rows[place]: place for place in places}
    lengths = [len(train.ids[row]) + prepared_model.prompt_tokens for row in place_of]
    device = prepared_model.network.get_input_embeddings().weight.device
    found, weight, spreads = np.zeros(3), 0.0, list[np.ndarray]()
    torch.manual_seed(0)  # for dropout; the caller restores the random state
    for numbers in packing.evaluation_batches(lengths, budget=scoring.EVALUATION_TOKENS):
        batch = packing.collate(train, [rows[places[number]] for number in numbers], device=str(device))
        fitted = torch.from_numpy(scores_NC[[place_of[row] for row in batch.rows]]).to(device)
        outputs = [_score(prepared_model, batch, dropout=dropout) for dropout in (False, True)]
        found += [float(task.loss(scores, batch.targets)) for scores in (fitted, *outputs)]
        weight += task.weight(batch.targets)
        evaluation = task.start_evaluation(batch.targets.tolist())
        evaluation.update(range(len(batch.rows)), outputs[1].float().cpu().numpy())
        losses_N = evaluation.row_losses()
        spreads += [] if losses_N is None else [losses_N]
    expected, loss, noisy = (found / weight).tolist()
    if not abs(loss - expected) <= CHECK_SLACK * max(1.0, task.expected_first_loss or 0.0):
        have = counted(len(places), "training row has", "training rows have")
        raise UserError(
            f"with the head of the regression {have} a loss of {loss:.4f}, in the regression itself of {expected:.4f}",
            where="head",
            fix="rows, labels and head do not match; please report this with the command; training.head_start=random goes on",
            code=ExitCode.MISMATCH,
        )
    if task.guessing_loss is not None and not noisy <= task.guessing_loss:
        raise HeadNotFitted(f"dropout makes the fitted one worse than guessing: a loss of {noisy:.3g}")
    return float(np.concatenate(spreads).std()) if spreads else 0.0


@torch.inference_mode()
def _score(prepared_model: PreparedModel, batch: packing.Batch, *, dropout: bool) -> torch.Tensor:
    """Return the outputs of a batch as in training, or without dropout."""
    if dropout:
        prepared_model.train()
    else:
        prepared_model.trainable_module.eval()
    return forward.compute_logits(prepared_model, batch.ids, batch.layout, batch.states)
