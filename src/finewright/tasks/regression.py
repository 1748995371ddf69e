"""Regression: a number for each text, such as a score, a price or an age.

In training the network gives the number divided by the standard deviation of the training rows, so that the same learning rates
fit numbers of any size. Before it is saved this factor is multiplied into the last layer of the head: the saved model gives
the number itself, in every program. The mean is not taken out of the targets, since many heads have no bias that could give it
back; the head starts at the mean.

Shape suffixes: N texts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from finewright.core.config import RunConfig
from finewright.data import number_rows
from finewright.data.checks import Finding
from finewright.data.conversation_shapes import RowKind
from finewright.data.dataset import Dataset
from finewright.data.number_cells import write_number
from finewright.data.splits import Example
from finewright.models.head_spec import HeadSpec, Reads
from finewright.tasks import number_checks, number_metrics, ridge_regression
from finewright.tasks.base import HeadWeights, Task
from finewright.tasks.card_words import CardWords
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.measures import Measures, Metric
from finewright.tasks.resampling import INTERVAL_WIDTH

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


DIGITS = 6
"""Significant digits of a predicted number: what float32 holds."""
NUM_MISTAKES = 10
MOST_DEVIATIONS = 10.0
"""Standard deviations between the mean and 0 up to which a head without a bias is trained: it gives the mean by what the states
of all texts have in common, which varies with the texts."""
MOST_ERRORS = 5000
"""Errors that are kept of the validation rows."""


@dataclass(frozen=True)
class Interval:
    """Which interval a prediction has. `half_width`: None without enough rows to measure it. `level`: share of rows inside.
    `num_rows`: validation rows that it was measured on."""

    half_width: float | None
    level: float
    num_rows: int


@dataclass(frozen=True)
class Regression(Task):
    """A number for each text.

    `mean`, `std`: of the training rows, in the unit of the data. `scale`: what targets are divided by. `scale_in_head`: whether
    the head's weights have it already, so that outputs are the numbers. `knows_rows`: whether mean and standard deviation were
    measured. `interval`: of predictions, if there is one.
    """

    name: ClassVar[str] = "regression"
    summary: ClassVar[str] = "a number for each text, such as a score or a price"
    example_data: ClassVar[str] = "reviews"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    problem_type: ClassVar[str | None] = "regression"
    reads: ClassVar[Reads] = "pooled"
    pipeline_tag: ClassVar[str | None] = "text-classification"
    card: ClassVar[CardWords] = CardWords(
        outputs="values",
        index="[:, 0]",
        given="the number",
        after_encoding="",
        pipeline="predict",
        value="value",
        names_labels=False,
    )
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    row_kind: ClassVar[RowKind] = "number"
    measures: ClassVar[Measures] = "numbers"
    predicts_numbers: ClassVar[bool] = True
    metric: ClassVar[Metric] = Metric("rmse", higher_is_better=False, words="RMSE")
    logged_metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae", "r2", "spearman", "loss")
    fits_head: ClassVar[bool] = True
    scales_head: ClassVar[bool] = True
    start: ClassVar[str] = "the ridge regression on the frozen features"

    mean: float = 0.0
    std: float = 1.0
    scale: float = 1.0
    scale_in_head: bool = False
    knows_rows: bool = False
    interval: Interval | None = None

    @classmethod
    def for_dataset(cls, dataset: Dataset, *, config: RunConfig) -> "Regression":
        """Build the task: numbers are divided by the standard deviation of the training rows while the model is trained."""
        if not dataset.train:
            return cls(())
        found = number_rows.measure_values(dataset.train)
        std = found["std"] if found["std"] > 0 else 1.0  # equal numbers are refused with the findings
        return cls((), mean=found["mean"], std=std, scale=std, knows_rows=True)

    @classmethod
    def for_saved_model(cls, config: "PretrainedConfig") -> "Regression":
        """Build the task of a saved model, which gives the numbers themselves."""
        return cls((), scale_in_head=True)

    @classmethod
    def assumed(cls, *, num_labels: int) -> "Regression":
        """Build the task for a plan without data."""
        return cls(())

    def check_dataset(self, dataset: Dataset) -> list[Finding]:
        """Return what is worth knowing of texts and numbers before training, errors first."""
        return number_checks.check_numbers(dataset)

    @property
    def expected_first_loss(self) -> float | None:
        """Unknown: the first rows may be far from the mean."""
        return None

    @property
    def guessing_loss(self) -> float | None:
        """Loss of always predicting the mean: 1, as the loss is that of standardised numbers."""
        return 1.0 if self.knows_rows else None

    @property
    def head_spec(self) -> HeadSpec:
        """What loading must know of the head: where the mean is many standard deviations, its weights alone cannot give it."""
        return replace(super().head_spec, needs_bias=abs(self.mean) > MOST_DEVIATIONS * self.std)

    @property
    def first_output(self) -> float:
        """What a fresh head gives for every text at first: the mean."""
        return self.mean / self.scale

    def load_libraries(self) -> None:
        """Import scikit-learn and SciPy."""
        number_metrics.load_libraries()

    def targets(self, examples: Sequence[Example]) -> list[float]:
        """Return what the network should give for each example: its number over `scale`."""
        return [number_rows.value_of(example) / self.scale for example in examples]

    def loss(self, output: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the sum over texts of the squared error of the standardised numbers."""
        given_N = output.float()[:, 0] * (self._factor / self.scale)
        return ((given_N - targets) * (self.scale / self.std)).square().sum()

    @property
    def _factor(self) -> float:
        """What outputs are multiplied by to get numbers."""
        return 1.0 if self.scale_in_head else self.scale

    def weight(self, targets: "torch.Tensor") -> float:
        """Return the number of texts."""
        return float(len(targets))

    def fit_head(self, features_NF: np.ndarray, targets: Sequence[float], *, has_bias: bool) -> HeadWeights:
        """Return the weights of a ridge regression."""
        return ridge_regression.fit_head(features_NF, targets, has_bias=has_bias)

    def move_scale_into_head(self, last_layer: Any) -> "Regression":
        """Multiply the last linear layer by `scale`, in place, so that the network gives numbers; return the task for it.

        `last_layer`: None for predictions that are numbers already.
        """
        for parameter in () if last_layer is None else last_layer.parameters():
            parameter.data.mul_(self.scale)
        return replace(self, scale_in_head=True)

    def divide_head_by_scale(self, last_layer: Any) -> None:
        """Divide the last layer of a saved regression by `scale`, in place, so that training continues from its numbers."""
        for parameter in last_layer.parameters():
            parameter.data.div_(self.scale)

    def start_evaluation(self, targets: Sequence[float]) -> "NumberEvaluation":
        """Return an accumulator that stores one number per text."""
        return NumberEvaluation(self, targets)

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """Return the numbers that outputs of shape (N, 1) mean, in the unit of the data, float64, shape (N,)."""
        return outputs[:, 0].astype(np.float64) * self._factor

    def describe_errors(self, outputs: np.ndarray | None, targets: Sequence[float]) -> dict[str, Any]:
        """Return what is kept beside the weights: mean and standard deviation of the training rows, and the absolute errors of
        the validation rows, ascending; of very many of them a random choice."""
        errors = np.zeros(0) if outputs is None else np.abs(self.values(outputs) - np.asarray(targets) * self.scale)
        if len(errors) > MOST_ERRORS:
            errors = np.random.default_rng(0).choice(errors, MOST_ERRORS, replace=False)
        return {"mean": self.mean, "std": self.std, "errors": sorted(errors.tolist())}

    def with_errors(self, kept: Mapping[str, Any], *, level: float) -> "Regression":
        """Return the task whose predictions have intervals of this level. `kept`: what `describe_errors` gave."""
        half_width = number_metrics.conformal_half_width(kept["errors"], level=level)
        return replace(
            self, mean=kept["mean"], std=kept["std"], knows_rows=True, interval=Interval(half_width, level, len(kept["errors"]))
        )

    def predictions(self, texts: Sequence[str], outputs: np.ndarray) -> list[dict[str, Any]]:
        """Return `{"text", "value"}` for each text, with the ends `low` and `high` of its interval if there is one."""
        found = []
        for text, value in zip(texts, self.values(outputs).tolist(), strict=True):
            found.append({"text": text, "value": self._round(value), **self._ends(value)})
        return found

    def _ends(self, value: float) -> dict[str, float]:
        if self.interval is None or self.interval.half_width is None:
            return {}
        ends = {"low": value - self.interval.half_width, "high": value + self.interval.half_width}
        return {name: self._round(end) for name, end in ends.items()}

    def _round(self, value: float) -> float:
        """Return a number to a ten thousandth of the spread of the training rows: further digits say nothing."""
        if not (self.knows_rows and math.isfinite(value)):
            return round_number(value)
        return round(value, 4 - math.floor(math.log10(self.std)))

    def empty_prediction(self, text: str) -> dict[str, Any]:
        """Return the prediction for a row without a text."""
        return {"text": text, "value": None}

    def standard_error(self, metrics: Mapping[str, Any]) -> float:
        """Return the standard error of the RMSE, by its interval from resampled rows; 0 if there is none."""
        low, high = metrics.get("rmse_ci95") or (0.0, 0.0)
        return (high - low) / INTERVAL_WIDTH

    @classmethod
    def compared_metric(cls, measured: Mapping[str, Any]) -> Metric:
        """Return R2: unlike RMSE it is a mean over rows, so that rows can be resampled and compared in pairs."""
        return Metric("r2", words="R2", is_share=True)

    @classmethod
    def row_scores(cls, lines: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return each row's part of R2: 1 less its squared error over the variance of the rows, at most 1 and with no lower end.

        Their mean is R2, so a difference of two models is one of their squared errors. None if all rows have one number.
        """
        true = np.array([float(line["label"]) for line in lines])
        variance = float(true.var()) if len(true) else 0.0
        if not variance > 0:
            return [None] * len(lines)
        predicted = np.array([float(line["value"]) for line in lines])
        return (1 - (predicted - true) ** 2 / variance).tolist()

    @classmethod
    def row_answers(cls, lines: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return the number that was predicted for each test row, with as many digits as it has."""
        return [show_number(line["value"]) for line in lines]


class NumberEvaluation(Evaluation):
    """Predicted numbers of a labelled split and the metrics from them."""

    def __init__(self, task: Regression, targets: Sequence[float]) -> None:
        self._task = task
        self._true_N = np.asarray(targets, dtype=np.float64) * task.scale
        self._values_N = np.zeros(len(self._true_N))

    def update(self, rows: Sequence[int], outputs: np.ndarray) -> None:
        """Add the outputs of some rows, shape (rows, 1)."""
        self._values_N[list(rows)] = self._task.values(outputs)

    def metrics(self) -> dict[str, Any]:
        """Return the values of `number_metrics`, the loss, the errors of always predicting the training rows' mean, and the share
        of rows inside their interval."""
        measured = number_metrics.number_metrics(self._values_N, self._true_N)
        measured["loss"] = float(self.row_losses().mean())
        if self._task.knows_rows:
            errors = self._true_N - self._task.mean
            measured |= {"mean_rmse": float(np.sqrt((errors**2).mean())), "mean_mae": float(np.abs(errors).mean())}
        if (interval := self._task.interval) is not None and interval.half_width is not None:
            measured |= {"interval_level": interval.level, "interval_half_width": interval.half_width}
            measured["interval_coverage"] = float((self.absolute_errors() <= interval.half_width).mean())
        return measured

    def absolute_errors(self) -> np.ndarray:
        """Return how far each prediction is from the number of its row, in the unit of the data, shape (N,)."""
        return np.abs(self._values_N - self._true_N)

    def row_losses(self) -> np.ndarray:
        """Return the squared error of each row's standardised number, shape (N,)."""
        return ((self._values_N - self._true_N) / self._task.std) ** 2

    def prediction_lines(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Return text, label, predicted number, its error and the ends of its interval for every example."""
        return [
            {
                "text": example.text,
                "label": example.label,
                "value": value,
                "error": value - number_rows.value_of(example),
                **self._task._ends(value),
                "where": example.where,
            }
            for example, value in zip(examples, self._values_N.tolist(), strict=True)
        ]

    def worst_mistakes(self, examples: Sequence[Example], *, count: int = NUM_MISTAKES) -> list[dict[str, Any]]:
        """Return the examples with the largest errors, largest first."""
        lines = self.prediction_lines(examples)
        return sorted(lines, key=lambda line: -abs(line["error"]))[:count]


def round_number(value: float) -> float:
    """Return a predicted number with as many digits as it has."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else value


def show_number(value: float) -> str:
    """Return a predicted number as a user reads it."""
    return write_number(round_number(value))
