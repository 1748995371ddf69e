"""Text classification: one of several labels for each text.

Shape suffixes: N texts, C classes.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.core.config import RunConfig
from finewright.data.checks import Finding
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.models.head_spec import Reads
from finewright.tasks import calibration, discriminant_analysis, label_checks, label_levels, logistic_regression, metrics
from finewright.tasks.base import Task
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.head_weights import HeadWeights
from finewright.tasks.measures import Measures, Metric, OutputDifference

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


MOST_REGRESSION_WORK = 5e8
"""Rows times features times labels up to which a logistic regression starts a head: its search takes about 30 seconds then."""


@dataclass(frozen=True)
class TextClassification(Task):
    """One of several labels for each text. `class_weights`: shape (C,), or None for equal weights.

    `temperature`: what scores are divided by before they become probabilities; the loss of training does not use it.
    """

    name: ClassVar[str] = "text-classification"
    summary: ClassVar[str] = "one label for each text, or for each pair of texts"
    example_data: ClassVar[str] = "tickets"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    problem_type: ClassVar[str | None] = "single_label_classification"
    reads: ClassVar[Reads] = "pooled"
    pipeline_tag: ClassVar[str | None] = "text-classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    measures: ClassVar[Measures] = "labels"
    metric: ClassVar[Metric] = Metric("accuracy", is_share=True)
    logged_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "loss")
    fits_head: ClassVar[bool] = True
    has_confidences: ClassVar[bool] = True
    predicts_one_label: ClassVar[bool] = True
    least_calibration_rows: ClassVar[int] = calibration.LEAST_ROWS

    class_weights: tuple[float, ...] | None = None
    temperature: float = 1.0

    @classmethod
    def for_dataset(cls, dataset: Dataset, *, config: RunConfig) -> "TextClassification":
        """Build the task. `balanced` class weights are rows / (classes · rows of the class), as in scikit-learn."""
        if config.training.class_weights != "balanced":
            return cls(dataset.labels)
        counts = Counter(row.label for row in dataset.train)
        return cls(dataset.labels, tuple(len(dataset.train) / (len(dataset.labels) * counts[label]) for label in dataset.labels))

    @classmethod
    def for_saved_model(cls, config: "PretrainedConfig") -> "TextClassification":
        """Build the task from the labels in a saved model's config."""
        names: dict[int, str] = config.id2label  # type: ignore[assignment]
        return cls(tuple(names[index] for index in range(len(names))))

    @classmethod
    def assumed(cls, *, num_labels: int) -> "TextClassification":
        """Build a task with placeholder labels, for a plan without data."""
        return cls(tuple(f"label {number}" for number in range(num_labels)))

    def check_dataset(self, dataset: Dataset) -> list[Finding]:
        """Return what is worth knowing of texts and labels before training, errors first."""
        return label_checks.check_labelled_texts(dataset)

    @property
    def expected_first_loss(self) -> float | None:
        """Loss of equal probabilities for all classes: ln(classes), in nats."""
        return math.log(len(self.labels))

    @cached_property
    def _label_indices(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    def load_libraries(self) -> None:
        """Import scikit-learn and SciPy."""
        metrics.load_libraries()

    def targets(self, examples: Sequence[Example]) -> list[int]:
        """Return the class index of each example's label."""
        return [self._label_indices[example.label] for example in examples]

    def loss(self, output: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the sum over texts of cross-entropy times class weight."""
        import torch  # here: a baseline predicts without it

        losses_N = torch.nn.functional.cross_entropy(output.float(), targets, reduction="none")
        return (losses_N * self._weights_of(targets)).sum()

    def weight(self, targets: "torch.Tensor") -> float:
        """Return the sum of the class weights of these texts."""
        return float(self._weights_of(targets).sum())

    def _weights_of(self, targets_N: "torch.Tensor") -> "torch.Tensor":
        import torch

        if self.class_weights is None:
            return torch.ones(len(targets_N), device=targets_N.device)
        return torch.tensor(self.class_weights, dtype=torch.float32, device=targets_N.device)[targets_N]

    def fit_head(self, features_NF: np.ndarray, targets: Sequence[int], *, has_bias: bool) -> HeadWeights:
        """Return the weights of a logistic regression with the run's class weights; of very many labels those of a linear
        discriminant analysis."""
        weights_N = None if self.class_weights is None else np.array(self.class_weights)[list(targets)]
        fit = discriminant_analysis.fit_head if self._is_large(*features_NF.shape) else logistic_regression.fit_head
        return fit(features_NF, targets, num_labels=len(self.labels), weights=weights_N, has_bias=has_bias)

    def count_fit_passes(self, *, num_rows: int, num_features: int) -> float:
        """Return the passes of a regression, or of the closed form that takes its place."""
        if self._is_large(num_rows, num_features):
            return discriminant_analysis.count_passes(num_rows=num_rows, num_features=num_features, num_labels=len(self.labels))
        return super().count_fit_passes(num_rows=num_rows, num_features=num_features)

    def _is_large(self, num_rows: int, num_features: int) -> bool:
        return num_rows * num_features * len(self.labels) > MOST_REGRESSION_WORK

    def start_evaluation(self, targets: Sequence[int]) -> "ClassificationEvaluation":
        """Return an accumulator that stores one score per text and class."""
        return ClassificationEvaluation(self.labels, targets, temperature=self.temperature)

    def predictions(self, texts: Sequence[str], outputs: np.ndarray) -> list[dict[str, Any]]:
        """Return `{"text", "label", "probability", "probabilities"}` for each text; of very many labels `probabilities` has
        those of the most probable ones."""
        probabilities_NC = self.label_probabilities(outputs)
        predicted_N = probabilities_NC.argmax(axis=1)
        return [
            {
                "text": text,
                "label": self.labels[predicted],
                "probability": float(probabilities_C[predicted]),
                "probabilities": self._list_probabilities(probabilities_C),
            }
            for text, probabilities_C, predicted in zip(texts, probabilities_NC, predicted_N, strict=True)
        ]

    def _list_probabilities(self, probabilities_C: np.ndarray) -> dict[str, float]:
        if len(self.labels) <= metrics.MOST_LISTED_LABELS:
            return dict(zip(self.labels, probabilities_C.tolist(), strict=True))
        most = np.argpartition(-probabilities_C, metrics.NUM_LISTED)[: metrics.NUM_LISTED]
        ranked = most[np.argsort(-probabilities_C[most], kind="stable")].tolist()
        return {self.labels[index]: float(probabilities_C[index]) for index in ranked}

    def empty_prediction(self, text: str) -> dict[str, Any]:
        """Return a prediction without a label."""
        return {"text": text, "label": None, "probability": None, "probabilities": {}}

    def label_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the softmax of the scores divided by the temperature, shape (N, C)."""
        return calibration.compute_probabilities(outputs, temperature=self.temperature)

    def fit_temperature(self, outputs: np.ndarray, targets: Sequence[int]) -> float:
        """Return the temperature that `calibration.fit_temperature` finds."""
        return calibration.fit_temperature(outputs, targets)

    def with_temperature(self, temperature: float) -> "TextClassification":
        """Return the task with another temperature."""
        return replace(self, temperature=temperature)

    def review_threshold(self, validation: Mapping[str, Any]) -> tuple[float, str]:
        """Return the confidence from which on nearly all validation rows were right, and the reason."""
        return metrics.describe_review_threshold(validation)

    def compare_outputs(self, before: np.ndarray, after: np.ndarray) -> OutputDifference:
        """Return the largest difference of a score, and how many texts get another label."""
        labels_before, labels_after = (
            calibration.compute_probabilities(scores_NC).argmax(axis=1) for scores_NC in (before, after)
        )
        num_changed = int((labels_before != labels_after).sum())
        return OutputDifference(float(np.abs(before - after).max()), float(np.abs(before).max()), num_changed)


class ClassificationEvaluation(Evaluation):
    """What metrics need of the class scores of a labelled split: a few numbers for each row, however many labels there are.

    `temperature`: what the scores are divided by.
    """

    def __init__(self, labels: tuple[str, ...], targets: Sequence[int], *, temperature: float = 1.0) -> None:
        self._labels, self._temperature = labels, temperature
        num_rows = len(targets)
        self._rows = metrics.ClassifiedRows(
            np.asarray(targets), np.zeros(num_rows, dtype=int), np.zeros(num_rows), np.zeros(num_rows)
        )
        self._uncalibrated_N = np.zeros(num_rows)

    def update(self, rows: Sequence[int], outputs: np.ndarray) -> None:
        """Add the scores of some rows, shape (rows, C)."""
        some = list(rows)
        found = metrics.ClassifiedRows.from_probabilities(
            calibration.compute_probabilities(outputs, temperature=self._temperature), self._rows.targets[some]
        )
        for name in ("predicted", "confidence", "likelihood"):
            getattr(self._rows, name)[some] = getattr(found, name)
        self._uncalibrated_N[some] = (
            found.confidence if self._temperature == 1.0 else calibration.compute_probabilities(outputs).max(axis=1)
        )

    @property
    def _right_N(self) -> np.ndarray:
        return self._rows.predicted == self._rows.targets

    def metrics(self) -> dict[str, Any]:
        """Return the values of `measure_rows`, and those of `measure_levels` where labels have levels."""
        measured = metrics.measure_rows(self._rows, labels=self._labels)
        if separator := label_levels.find_separator(self._labels):
            how: dict[str, Any] = {"labels": self._labels, "separator": separator}
            measured |= label_levels.measure_levels(self._rows.predicted, self._rows.targets, **how)
        return measured

    def prediction_lines(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Return text, label, predicted label and its probability for every example."""
        return [
            {
                "text": example.text,
                "label": example.label,
                "predicted": self._labels[predicted],
                "probability": confidence,
                "where": example.where,
            }
            for example, predicted, confidence in zip(
                examples, self._rows.predicted.tolist(), self._rows.confidence.tolist(), strict=True
            )
        ]

    def row_losses(self) -> np.ndarray:
        """Return the negative log likelihood of each row's label, in nats, shape (N,)."""
        return -np.log(self._rows.likelihood.clip(min=np.finfo(float).tiny))

    def calibration_error(self, *, calibrated: bool = True) -> float:
        """Return `metrics.calibration_error` of the rows."""
        return metrics.calibration_error(self._rows.confidence if calibrated else self._uncalibrated_N, self._right_N)

    def row_confidences(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the highest probability of each row, and whether its label has it."""
        return self._rows.confidence, self._right_N

    def worst_mistakes(self, examples: Sequence[Example], *, count: int = 10) -> list[dict[str, Any]]:
        """Return the misclassified examples with the lowest probability of their label, lowest first."""
        lines = self.prediction_lines(examples)
        for line, likelihood in zip(lines, self._rows.likelihood.tolist(), strict=True):
            line["probability_of_label"] = likelihood
        wrong = [line for line in lines if line["label"] != line["predicted"]]
        return sorted(wrong, key=lambda line: line["probability_of_label"])[:count]
