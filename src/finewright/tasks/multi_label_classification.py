"""Multi-label classification: any number of labels for each text, also none.

Shape suffixes: N texts, C labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.core.config import RunConfig
from finewright.data.checks import Finding
from finewright.data.conversation_shapes import RowKind
from finewright.data.dataset import Dataset
from finewright.data.multi_label_rows import join_labels, labels_of, make_row
from finewright.data.splits import Example
from finewright.models.head_spec import Reads
from finewright.tasks import label_thresholds, multi_label_checks, multi_label_metrics, one_vs_rest
from finewright.tasks.base import Task
from finewright.tasks.card_words import CardWords
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.head_weights import HeadWeights
from finewright.tasks.measures import Measures, Metric, OutputDifference

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


_FIRST_LOSS = math.log(2)
"""Loss of a probability of one half for every label, in nats."""


@dataclass(frozen=True)
class MultiLabelClassification(Task):
    """Any number of labels for each text: one binary decision per label.

    `class_weights`: of each label, the weight of a text that lacks it and of one that has it, shape (C, 2); None for equal
    ones. `label_thresholds`: the probability from which on a text has the label, shape (C,); 0.5 for all when it is None.
    """

    name: ClassVar[str] = "multi-label-classification"
    summary: ClassVar[str] = "any number of labels for each text, also none"
    example_data: ClassVar[str] = "topics"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    problem_type: ClassVar[str | None] = "multi_label_classification"
    reads: ClassVar[Reads] = "pooled"
    pipeline_tag: ClassVar[str | None] = "text-classification"
    card: ClassVar[CardWords] = CardWords(after_encoding="probabilities = scores.sigmoid()\n")
    columns: ClassVar[tuple[str, ...]] = ("text", "labels")
    row_kind: ClassVar[RowKind] = "multi-label"
    measures: ClassVar[Measures] = "label-sets"
    metric: ClassVar[Metric] = Metric("micro_f1", is_share=True, words="micro F1")
    logged_metrics: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1", "average_precision", "loss")
    fits_head: ClassVar[bool] = True
    fits_thresholds: ClassVar[bool] = True

    class_weights: tuple[tuple[float, float], ...] | None = None
    label_thresholds: tuple[float, ...] | None = None

    @classmethod
    def for_dataset(cls, dataset: Dataset, *, config: RunConfig) -> "MultiLabelClassification":
        """Build the task. `balanced` class weights are, for each label, rows / (2 · rows with it) for texts that have it and
        rows / (2 · rows without it) for the others, as in scikit-learn; their ratio is PyTorch's `pos_weight`."""
        if config.training.class_weights != "balanced":
            return cls(dataset.labels)
        count, number = dict.fromkeys(dataset.labels, 0), len(dataset.train)
        for row in dataset.train:
            for label in labels_of(row):
                count[label] += 1
        weights = [(number / (2 * max(1, number - some)), number / (2 * max(1, some))) for some in count.values()]
        return cls(dataset.labels, tuple(weights))

    @classmethod
    def for_saved_model(cls, config: "PretrainedConfig") -> "MultiLabelClassification":
        """Build the task from the labels in a saved model's config."""
        names: dict[int, str] = config.id2label  # type: ignore[assignment]
        return cls(tuple(names[index] for index in range(len(names))))

    @classmethod
    def assumed(cls, *, num_labels: int) -> "MultiLabelClassification":
        """Build a task with placeholder labels, for a plan without data."""
        return cls(tuple(f"label {number}" for number in range(num_labels)))

    def check_dataset(self, dataset: Dataset) -> list[Finding]:
        """Return what is worth knowing of texts and labels before training, errors first."""
        return multi_label_checks.check_multi_label_texts(dataset)

    @property
    def expected_first_loss(self) -> float | None:
        """Loss of even odds for every label: ln 2, in nats."""
        return _FIRST_LOSS

    @property
    def target_shape(self) -> tuple[int, ...]:
        """A number for each label."""
        return (len(self.labels),)

    @cached_property
    def _label_indices(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    def load_libraries(self) -> None:
        """Import scikit-learn and SciPy."""
        multi_label_metrics.load_libraries()

    def targets(self, examples: Sequence[Example]) -> list[tuple[float, ...]]:
        """Return for each example a tuple with 1 for each label that it has, else 0. Equal rows share one tuple."""
        known: dict[tuple[str, ...], tuple[float, ...]] = {}
        found = []
        for example in examples:
            own = labels_of(example)
            if own not in known:
                values = [0.0] * len(self.labels)
                for label in own:
                    values[self._label_indices[label]] = 1.0
                known[own] = tuple(values)
            found.append(known[own])
        return found

    def loss(self, output: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the sum over texts of the mean over labels of binary cross-entropy times class weight."""
        import torch  # here: a baseline predicts without it

        losses_NC = torch.nn.functional.binary_cross_entropy_with_logits(output.float(), targets, reduction="none")
        return (losses_NC * self._weights_of(targets)).mean(dim=1).sum()

    def weight(self, targets: "torch.Tensor") -> float:
        """Return the sum over texts of the mean class weight of their labels."""
        return float(self._weights_of(targets).mean(dim=1).sum())

    def _weights_of(self, targets_NC: "torch.Tensor") -> "torch.Tensor":
        import torch

        if self.class_weights is None:
            return torch.ones_like(targets_NC)
        without_C, with_C = torch.tensor(self.class_weights, dtype=torch.float32, device=targets_NC.device).T
        return torch.where(targets_NC > 0, with_C, without_C)

    def fit_head(self, features_NF: np.ndarray, targets: Sequence[Any], *, has_bias: bool) -> HeadWeights:
        """Return the weights of one logistic regression for each label, with the run's class weights."""
        targets_NC, weights_NC = as_matrix(targets, num_labels=len(self.labels)), None
        if self.class_weights is not None:
            without_C, with_C = np.array(self.class_weights).T
            weights_NC = np.where(targets_NC > 0, with_C, without_C)
        return one_vs_rest.fit_head(features_NF, targets_NC, weights_NC=weights_NC, has_bias=has_bias)

    def start_evaluation(self, targets: Sequence[Any]) -> "MultiLabelEvaluation":
        """Return an accumulator that stores one score per text and label."""
        return MultiLabelEvaluation(self.labels, targets, thresholds=self.thresholds)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The probability from which on a text has the label, for each label."""
        return self.label_thresholds or (label_thresholds.DEFAULT,) * len(self.labels)

    def fit_thresholds(self, outputs: np.ndarray, targets: Sequence[Any]) -> "MultiLabelClassification":
        """Return the task with the thresholds that `label_thresholds.fit_thresholds` finds."""
        targets_NC = as_matrix(targets, num_labels=len(self.labels))
        return self.with_thresholds(label_thresholds.fit_thresholds(multi_label_metrics.sigmoid(outputs), targets_NC))

    def with_thresholds(self, thresholds: Sequence[float]) -> "MultiLabelClassification":
        """Return the task with other thresholds, one for each label."""
        return replace(self, label_thresholds=tuple(thresholds))

    def predictions(self, texts: Sequence[str], outputs: np.ndarray) -> list[dict[str, Any]]:
        """Return `{"text", "labels", "probabilities"}` for each text: the labels whose probability is at least their threshold,
        the most probable first."""
        probabilities_NC = self.label_probabilities(outputs)
        return [
            {
                "text": text,
                "labels": [self.labels[index] for index in self._said(probabilities_C)],
                "probabilities": dict(zip(self.labels, probabilities_C.tolist(), strict=True)),
            }
            for text, probabilities_C in zip(texts, probabilities_NC, strict=True)
        ]

    def _said(self, probabilities_C: np.ndarray) -> list[int]:
        said = np.flatnonzero(probabilities_C >= np.asarray(self.thresholds))
        return said[np.argsort(-probabilities_C[said], kind="stable")].tolist()

    def empty_prediction(self, text: str) -> dict[str, Any]:
        """Return a prediction for a row without a text: None in place of its labels."""
        return {"text": text, "labels": None, "probabilities": {}}

    def label_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logistic function of the scores, shape (N, C)."""
        return multi_label_metrics.sigmoid(outputs)

    def compare_outputs(self, before: np.ndarray, after: np.ndarray) -> OutputDifference:
        """Return the largest difference of a score, and how many texts get other labels."""
        one_NC, other_NC = (self.label_probabilities(scores) >= np.asarray(self.thresholds) for scores in (before, after))
        num_changed = int((one_NC != other_NC).any(axis=1).sum())
        return OutputDifference(float(np.abs(before - after).max()), float(np.abs(before).max()), num_changed)

    @classmethod
    def compared_metric(cls, measured: Mapping[str, Any]) -> Metric:
        """Return F1 of the labels of a text, mean over texts: models are compared row by row."""
        return Metric("samples_f1", is_share=True, words="F1 per text")

    @classmethod
    def example_from_line(cls, line: Mapping[str, Any]) -> Example:
        """Return the row that a line of predictions.jsonl is about."""
        return make_row(line["text"], line["labels"], line["where"], pair=line.get("pair"))


def as_matrix(targets: Sequence[Any], *, num_labels: int) -> np.ndarray:
    """Return targets as a matrix of zeros and ones, uint8, shape (N, C)."""
    return np.array(targets, dtype=np.uint8).reshape(len(targets), num_labels)


class MultiLabelEvaluation(Evaluation):
    """Scores of a labelled split and the metrics from them."""

    def __init__(self, labels: tuple[str, ...], targets: Sequence[Any], *, thresholds: tuple[float, ...]) -> None:
        self._labels, self._thresholds = labels, thresholds
        self._targets_NC = as_matrix(targets, num_labels=len(labels))
        self._scores_NC = np.zeros(self._targets_NC.shape, dtype=np.float32)

    def update(self, rows: Sequence[int], outputs: np.ndarray) -> None:
        """Add the scores of some rows, shape (rows, C)."""
        self._scores_NC[list(rows)] = outputs

    def metrics(self) -> dict[str, Any]:
        """Return the values of `multi_label_metrics.measure`."""
        return multi_label_metrics.measure(self._scores_NC, self._targets_NC, labels=self._labels, thresholds=self._thresholds)

    @property
    def _said_NC(self) -> np.ndarray:
        return multi_label_metrics.sigmoid(self._scores_NC) >= np.asarray(self._thresholds)

    def prediction_lines(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Return text, labels, predicted labels, both as one text, F1 of the row and whether it is right for every example."""
        said_NC = self._said_NC
        f1_N = multi_label_metrics.row_f1(self._targets_NC > 0, said_NC)
        return [
            {
                "text": example.text,
                "label": example.label,
                "labels": list(labels_of(example)),
                "predicted": join_labels([self._labels[index] for index in np.flatnonzero(said_C).tolist()]),
                "score": float(f1),
                "right": bool(f1 == 1),
                "where": example.where,
            }
            for example, said_C, f1 in zip(examples, said_NC, f1_N, strict=True)
        ]

    def row_losses(self) -> np.ndarray:
        """Return the mean binary cross-entropy of each row, in nats, shape (N,)."""
        return multi_label_metrics.row_losses(self._scores_NC, self._targets_NC)

    def worst_mistakes(self, examples: Sequence[Example], *, count: int = 10) -> list[dict[str, Any]]:
        """Return the examples with a wrong label or a missing one and the highest loss, highest first."""
        lines, losses_N = self.prediction_lines(examples), self.row_losses()
        order = [row for row in np.argsort(-losses_N, kind="stable").tolist() if not lines[row]["right"]]
        return [lines[row] | {"loss": float(losses_N[row])} for row in order[:count]]
