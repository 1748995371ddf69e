"""Interface of a task: columns, targets, loss, metrics and predictions. All other code is independent of the task."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from finewright.data import checks, pair_checks
from finewright.data.checks import Finding
from finewright.data.conversation_shapes import RowKind
from finewright.data.text_pairs import are_pairs, as_input, input_of
from finewright.models.head_spec import LANGUAGE_MODEL, HeadSpec, Reads
from finewright.tasks.card_words import CardWords
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.head_weights import HeadNotFitted, HeadWeights
from finewright.tasks.measures import Measures, Metric, OutputDifference

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PretrainedConfig

    from finewright.core.config import DataConfig, RunConfig
    from finewright.data.dataset import Dataset
    from finewright.data.packing import EncodedSplit
    from finewright.data.splits import Example
    from finewright.methods.base import Method


LEAST_LOSS_FALL = 0.01
"""Least fall of the loss that counts between evaluations of the same metric, as a share of the loss of a fresh head.

Relative to the best loss itself it would never end: once all rows are right, the loss falls by 10% an epoch from 0.02 to 0.018.
The usual thresholds are absolute and 0 by default (transformers' `early_stopping_threshold`, Lightning's, Keras's `min_delta`),
so that any fall counts; scikit-learn's `tol` and PyTorch's `ReduceLROnPlateau` want more than 1e-4.
"""


REGRESSION_PASSES = 1_800
"""How often regressions go over the features to fit a head, about: 100 steps of 18 fits over most rows."""


@dataclass(frozen=True)
class EncodedRows:
    """The tokens of a split. `rows`: the row of each text, in order; rows may be left out. `choices`: (what was chosen, its
    value, the reason). `example`: the first text in pieces, each with whether its tokens are targets, where tokens are."""

    split: "EncodedSplit"
    rows: "list[Example]"
    findings: list[Finding]
    choices: list[tuple[str, str, str]] = field(default_factory=list)
    example: list[tuple[str, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Task(ABC):
    """A task on texts. Loop, step, planner, checkpoints, verification and comparison use this interface alone.

    `labels`: names of the head's outputs; empty if the task has none.

    Shapes: `output` is the network's output for a batch, (N, C) for tasks that read one state per text.
    """

    name: ClassVar[str]
    """Name for users: the file name with hyphens."""
    summary: ClassVar[str] = ""
    """What is learnt, for lists."""
    example_data: ClassVar[str] = ""
    """The data set for it that comes with the program, by the name that is given in place of a file."""
    auto_model: ClassVar[str]
    """The transformers class whose head the task trains."""
    peft_task_type: ClassVar[str]
    """PEFT's name for that head."""
    problem_type: ClassVar[str | None] = None
    """What a saved config says of the loss, in transformers' words; None for nothing."""
    reads: ClassVar[Reads]
    """Which states the head reads. Only `pooled` allows the last layer to compute one token per text."""
    pipeline_tag: ClassVar[str | None] = None
    """The transformers pipeline that predicts with a saved model, if there is one; hubs sort by it."""
    card: ClassVar[CardWords] = CardWords()
    """How a model card names and reads what a model gives."""
    columns: ClassVar[tuple[str, ...]]
    row_kind: ClassVar[RowKind] = "labelled"
    """What a row of its data is."""
    metric: ClassVar[Metric]
    measures: ClassVar[Measures] = "values"
    """What the metrics of a split are about, by which they are shown."""
    predicts_numbers: ClassVar[bool] = False
    """Whether the label of a row is a number, and a prediction another one: they have an order and a distance."""
    logged_metrics: ClassVar[tuple[str, ...]]
    """Metrics of an evaluation that are written to metrics.jsonl."""
    default_max_length: ClassVar[int] = 512
    """Longest text in tokens unless the user or the model sets a lower limit."""
    has_confidences: ClassVar[bool] = False
    """Whether each prediction has a probability. It can then be calibrated, and rows below one can be left without an answer."""
    least_calibration_rows: ClassVar[int] = 0
    """Fewest labelled rows that confidences are calibrated on unless the user wants it."""

    fits_thresholds: ClassVar[bool] = False
    """Whether each label has a probability from which on it is predicted, which `fit_thresholds` finds."""
    predicts_one_label: ClassVar[bool] = False
    """Whether each row has exactly one of `labels`, and a prediction is one of them, with a probability of its own."""

    start: ClassVar[str] = "the first head on the frozen features"
    """What a model is before its first update, in messages."""
    least_epochs: ClassVar[tuple[int, int]] = (3, 20)
    """Fewest epochs by default, and most where the data gives few updates."""
    most_pass_tokens: ClassVar[int] = 0
    """Tokens of a forward and backward pass above which a CPU is no faster, where they take much memory; 0: no limit."""
    generates: ClassVar[bool] = False
    """Whether the model is asked for answers, which are measured too."""
    evaluates_start: ClassVar[bool] = False
    """Whether the model is worth evaluating before the first update: it can do the task already."""
    labels_texts: ClassVar[bool] = True
    """Whether the labels, if there are any, are those of whole texts, so that a table gets a column of them."""
    fits_head: ClassVar[bool] = False
    """Whether `fit_head` can give a new head its first weights."""
    scales_head: ClassVar[bool] = False
    """Whether targets are scaled in training, and the last layer by as much before it is saved (`move_scale_into_head`)."""

    learning_rate_factor: ClassVar[float] = 1.0
    """What the methods' default learning rates are multiplied by."""
    uses_dropout: ClassVar[bool] = True
    """Whether dropout is on in training."""
    texts_per_row: ClassVar[int] = 1
    """How many texts a row consists of, where a plan assumes rows."""

    labels: tuple[str, ...]

    @classmethod
    @abstractmethod
    def for_dataset(cls, dataset: "Dataset", *, config: "RunConfig") -> Self:
        """Build the task for a data set: label set, class weights."""

    @classmethod
    @abstractmethod
    def for_saved_model(cls, config: "PretrainedConfig") -> Self:
        """Build the task from the config of a saved model."""

    @classmethod
    def for_labels(cls, labels: Sequence[str]) -> Self:
        """Build the task for a classifier of these labels that is no network."""
        return cls(tuple(labels))

    @classmethod
    @abstractmethod
    def assumed(cls, *, num_labels: int) -> Self:
        """Build a task for a plan without data."""

    def check_dataset(self, dataset: "Dataset") -> list[Finding]:
        """Return everything that is worth knowing before training, errors first: what is true of texts for any task."""
        return [*checks.check_texts(dataset), *pair_checks.find_pair_faults(checks.splits_of(dataset))]

    @property
    def head_spec(self) -> HeadSpec:
        """What loading, methods and forward passes must know of the task."""
        return HeadSpec(
            self.auto_model, self.peft_task_type, self.reads, self.labels, self.problem_type, self.expected_first_loss
        )

    @classmethod
    def is_language_model(cls) -> bool:
        """Whether its models continue texts: the head is their own output layer."""
        return cls.auto_model == LANGUAGE_MODEL

    @classmethod
    def why_not(cls, method: "Method") -> str:
        """Return why a method cannot train this task; empty if it can."""
        if method.objective == "pairs" and not cls.predicts_one_label:
            return f"{method.name()} draws texts of one label together, and {cls.name} has no one label for each text"
        return ""

    def load_libraries(self) -> None:
        """Import what measuring needs, so that importing it does not count as evaluation time."""
        return None

    def encode_rows(  # noqa: PLR0913  rows, what cuts them, and what they are called
        self,
        tokenizer: Any,
        rows: "Sequence[Example]",
        *,
        name: str,
        limit: int,
        settings: "RunConfig",
        known: dict[str, list[int]] | None = None,
    ) -> EncodedRows:
        """Return the tokens of the rows of split `name` with at most `limit` tokens each, and what was found about them.

        `known`: token ids of texts that were tokenized before; added to.
        """
        from finewright.data import packing  # loads PyTorch, which a baseline predicts without

        side = settings.data.truncation_side
        texts = [input_of(row) for row in rows]
        how: dict[str, Any] = {"limit": limit, "keep_end": side == "left", "keep": True, "known": known}
        split = packing.encode_texts(tokenizer, texts, targets=self.targets(rows), **how)
        findings = [
            *checks.check_tokens(tokenizer, split.ids, rows, name=name),
            *checks.check_texts_differ(split.ids, rows, name=name),
            *checks.check_truncation(
                split.lengths_uncut, limit=limit, side=side, places=[row.where for row in rows], are_pairs=are_pairs(texts)
            ),
        ]
        return EncodedRows(split, list(rows), findings)

    def data_options(self) -> dict[str, Any]:
        """Return the options by which rows become tokens, where a saved model needs them to read rows alike; JSON-ready."""
        return {}

    def with_data_options(self, options: "DataConfig") -> Self:
        """Return the task that reads rows by these options."""
        return self

    def complete_model(self, network: Any, tokenizer: Any) -> None:
        """Set what a saved model of this task must say beside its weights, in place: nothing."""
        return None

    def probes(self, examples: "Sequence[Example]") -> list[Any]:
        """Return what `encode_inputs` takes, JSON-ready: the texts, or for each pair its two texts."""
        return [input_of(example) for example in examples]

    def encode_inputs(self, tokenizer: Any, inputs: Sequence[Any], *, limit: int, keep_end: bool) -> "EncodedSplit":
        """Return the tokens of inputs without targets, cut to `limit`: of texts, or of pairs of texts."""
        from finewright.data import packing

        return packing.encode_texts(tokenizer, [as_input(one) for one in inputs], limit=limit, keep_end=keep_end)

    def encode_evaluated(self, tokenizer: Any, examples: "Sequence[Example]", *, limit: int, keep_end: bool) -> EncodedRows:
        """Return the tokens of labelled examples with their targets; here of all. `rows`: those that can be evaluated."""
        split = self.encode_inputs(tokenizer, self.probes(examples), limit=limit, keep_end=keep_end)
        return EncodedRows(replace(split, targets=self.targets(examples)), list(examples), [])

    @abstractmethod
    def targets(self, examples: "Sequence[Example]") -> list[Any]:
        """Return the target of each example: its class, a number, or a tuple with a number for each label."""

    def targets_of_texts(self, examples: "Sequence[Example]") -> list[Any]:
        """Return what `start_evaluation` takes of examples that a model scores whole, without tokens: the targets."""
        return self.targets(examples)

    @abstractmethod
    def loss(self, output: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the weighted sum of the losses of a batch, a scalar in nats.

        Sums add up over micro-batches; the step divides by the weight of the whole update.
        """

    @abstractmethod
    def weight(self, targets: "torch.Tensor") -> float:
        """Return the weight of a batch in the mean loss of its update; no forward pass is needed."""

    @property
    @abstractmethod
    def expected_first_loss(self) -> float | None:
        """Loss of a fresh head, in nats; None if it is unknown and cannot be checked."""

    @property
    def guessing_loss(self) -> float | None:
        """Loss of guessing without reading the texts; None if it is unknown."""
        return self.expected_first_loss

    @property
    def first_output(self) -> float:
        """What a fresh head with one output gives for every text at first."""
        return 0.0

    def move_scale_into_head(self, last_layer: Any) -> Self:
        """Scale the last linear layer of a trained head, in place, for the saved model; return the task for its outputs."""
        return self

    def divide_head_by_scale(self, last_layer: Any) -> None:
        """Undo `move_scale_into_head` for the head of a saved model that is trained further, in place."""
        return None

    def describe_errors(self, outputs: "np.ndarray | None", targets: Sequence[Any]) -> dict[str, Any] | None:
        """Return what a run keeps of its errors on the validation rows, JSON-ready, so that predictions have intervals.

        `outputs`: for these rows, None without any. None if the task has no intervals.
        """
        return None

    def with_errors(self, kept: Mapping[str, Any], *, level: float) -> Self:
        """Return the task whose predictions have intervals that hold this share of new rows. `kept`: of `describe_errors`."""
        return self

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of a text's target if it is an array of numbers; empty for a class."""
        return ()

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares with the log-probabilities of the untrained model."""
        return False

    @property
    def least_rows_per_update(self) -> int:
        """Fewest rows of an update for the loss to mean what it should."""
        return 1

    def expected_loss_at_start(self, encoded: "EncodedSplit", rows: Sequence[int]) -> float | None:
        """Return the mean loss of these rows of a split before the first update, in nats; None if it is unknown.

        Only tasks that need a reference are asked: the model still is what the reference was measured with.
        """
        return None

    def count_characters(self, example: "Example") -> list[int]:
        """Return the characters of each text that a row consists of, for a plan without a tokenizer."""
        return [len(example.text)]

    def fit_head(self, features_NF: "np.ndarray", targets: Sequence[Any], *, has_bias: bool) -> HeadWeights:
        """Return first weights for a new head, from what it reads of the training texts, shape (N, F), and their targets.

        `has_bias`: whether the head adds one. Raise `HeadNotFitted` if there are none; tasks that have some set `fits_head`.
        """
        raise HeadNotFitted("the task has no way to fit a head")

    def count_fit_passes(self, *, num_rows: int, num_features: int) -> float:
        """Return how often `fit_head` multiplies all features with the weights of all labels, about, for a plan."""
        return REGRESSION_PASSES

    @abstractmethod
    def start_evaluation(self, targets: Sequence[Any]) -> Evaluation:
        """Return an empty accumulator for a split with these targets."""

    @abstractmethod
    def predictions(self, texts: Sequence[str], outputs: "np.ndarray") -> list[dict[str, Any]]:
        """Return one JSON-ready prediction for each text."""

    def collect_outputs(self, encoded: "EncodedSplit", outputs: "np.ndarray") -> "np.ndarray":
        """Return the outputs of each input from those of the texts that `encode_inputs` made of them: the same, one for one."""
        return outputs

    def prediction_columns(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a prediction adds to the row of a table, where predictions are no labels: its plain values."""
        return {
            name: value
            for name, value in prediction.items()
            if name not in ("text", "text_pair") and isinstance(value, str | int | float | bool)
        }

    def empty_prediction(self, text: str) -> dict[str, Any]:
        """Return the prediction for a row without a text."""
        return {"text": text}

    def label_probabilities(self, outputs: "np.ndarray") -> "np.ndarray | None":
        """Return the probability of each of `labels`, shape (N, C); None if predictions are not labels."""
        return None

    @property
    def temperature(self) -> float:
        """What outputs are divided by before they become probabilities."""
        return 1.0

    def fit_temperature(self, outputs: "np.ndarray", targets: Sequence[int]) -> float:
        """Return what to divide outputs by so that confidences agree with how often labelled rows are right.

        Only tasks that have confidences are asked.
        """
        return 1.0

    def with_temperature(self, temperature: float) -> Self:
        """Return the task that divides outputs by this before it makes probabilities of them; the training loss does not."""
        return self

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The probability from which on each label is predicted; None for a task whose predictions need none."""
        return None

    def fit_thresholds(self, outputs: "np.ndarray", targets: Sequence[Any]) -> Self:
        """Return the task with the thresholds that are best on these rows. Only tasks with `fits_thresholds` are asked."""
        return self

    def with_thresholds(self, thresholds: Sequence[float]) -> Self:
        """Return the task with other thresholds. Only tasks with `fits_thresholds` are asked."""
        return self

    def review_threshold(self, validation: Mapping[str, Any]) -> tuple[float, str] | None:
        """Return the confidence below which a prediction needs review, and the reason; None if predictions have none.

        `validation`: metrics of the validation split, empty without one.
        """
        return None

    def compare_outputs(self, before: "np.ndarray", after: "np.ndarray") -> OutputDifference:
        """Return how the outputs of a second model differ from those of a first one; both of the same shape."""
        return OutputDifference(float(abs(before - after).max()), float(abs(before).max()))

    @classmethod
    def example_from_line(cls, line: Mapping[str, Any]) -> "Example | None":
        """Return the row that a line of predictions.jsonl is about, as `targets` needs it; None if it says too little."""
        from finewright.data.splits import Example

        return Example(line["text"], line["label"], line.get("where", ""), pair=line.get("pair"))

    @classmethod
    def decisive_metric(cls, measured: Mapping[str, Any]) -> Metric:
        """Return the metric that decided which evaluation was best, by the metrics of a split: of most tasks always the same."""
        return cls.metric

    @classmethod
    def compared_metric(cls, measured: Mapping[str, Any]) -> Metric:
        """Return the metric that models are compared by: the mean of the scores of the rows (`row_scores`), a share.

        `measured`: metrics of a test split, as result.json has them.
        """
        return cls.metric

    @classmethod
    def compared_value(cls, measured: Mapping[str, Any]) -> float | None:
        """Return the value of `compared_metric`; None if it is not among these metrics."""
        return measured.get(cls.compared_metric(measured).name)

    @classmethod
    def row_scores(cls, lines: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """Return the score of each test row, from 0 to 1; None for a row that is not scored: here 1 if it is right, else 0.

        `lines`: all lines of predictions.jsonl.
        """
        return [float(line["label"] == line["predicted"]) if line.get("score") is None else line["score"] for line in lines]

    def standard_error(self, metrics: Mapping[str, Any]) -> float:
        """Return the standard error of the metric over the rows that were evaluated; 0 if it is unknown.

        Of a share p of n rows it is sqrt(p · (1 - p) / n), with one row more that is right and one that is wrong, as all of few
        rows being right is no proof that all are (Agresti & Coull 1998).
        """
        num_rows = metrics.get("num_rows", 0)
        if not self.metric.is_share or not num_rows:
            return 0.0
        share = (metrics[self.metric.name] * num_rows + 1) / (num_rows + 2)
        return math.sqrt(share * (1 - share) / num_rows)

    def is_clearly_worse(self, metrics: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
        """Return whether an evaluation is worse than the best one by more than one standard error of the metric.

        Without a standard error every evaluation that is not better is.
        """
        error = self.standard_error(best)
        sign = 1 if self.metric.higher_is_better else -1
        return not self.is_better(metrics, best) and (
            not error or sign * (best[self.metric.name] - metrics[self.metric.name]) > error
        )

    def is_same(self, metrics: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
        """Return whether an evaluation has the metric of the best one, and its loss but for `LEAST_LOSS_FALL`."""
        change = abs(best["loss"] - metrics["loss"])
        equal = metrics[self.metric.name] == best[self.metric.name]
        return equal and change < LEAST_LOSS_FALL * (self.expected_first_loss or best["loss"])

    @classmethod
    def row_answers(cls, lines: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return what the model said to each test row, the answer that its score is of; None for a row without one.

        `lines`: as in `row_scores`.
        """
        return [line.get("predicted") for line in lines]

    def is_better(self, metrics: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
        """Return whether an evaluation is better than the best one before it: its metric is, or its metric is equal and its loss
        is lower by at least `LEAST_LOSS_FALL`. Without an expected first loss this is a share of the best evaluation's loss."""
        value, best_value = metrics[self.metric.name], best[self.metric.name]
        if value != best_value:
            return (value > best_value) == self.metric.higher_is_better
        fall = best["loss"] - metrics["loss"]
        return fall > 0 and fall >= LEAST_LOSS_FALL * (self.expected_first_loss or best["loss"])
