"""The files of a comparison, one model each. Nothing else writes or reads them."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from finewright import tasks
from finewright.comparison.search import TrialRecord
from finewright.comparison.spec import ComparisonSpec
from finewright.data.text_pairs import TextPair, joined_text
from finewright.runs.schema import Artifact, Decision, PlanFile, VersionedFile
from finewright.runs.split_metrics import ClassificationMetrics

SCHEMA_VERSION = 1

_DEFAULT_METRIC = tasks.get_task(tasks.DEFAULT).metric
"""Of files of earlier versions."""
Kind = Literal["pretrained", "random", "baseline"]
Interval = tuple[float, float]
"""Lower and upper end of a 95% interval."""
Curve = list[tuple[float, float]]
"""Points (x, y). In training curves x is the epoch."""


class ComparisonPart(Artifact):
    """A file of a comparison, a line of one, or a part of one."""

    newest: ClassVar[int] = SCHEMA_VERSION
    owner: ClassVar[str] = "comparison"
    repair: ClassVar[str] = "choose another --out and compare again"


class ComparisonFile(ComparisonPart, VersionedFile):
    """A whole JSON file."""

    schema_version: int = SCHEMA_VERSION


class SplitRows(ComparisonPart):
    """Number of rows of each split."""

    train: int
    validation: int
    test: int


class SpecData(ComparisonPart):
    """The data by its content. `fingerprint`: SHA-256 of split, text and label of all rows."""

    fingerprint: str
    rows: SplitRows
    labels: tuple[str, ...]


class ComparisonSpecFile(ComparisonFile):
    """compare.json: what was asked for, of which data and which model. None of it may change in a comparison, except paths.

    `model`: its name, and its revision on the hub or the SHA-256 of every weight file.
    """

    asked: ComparisonSpec
    data: SpecData
    model: dict[str, str]


class SplitLine(ComparisonPart):
    """A line of a file in `splits`: a row of the data. `place`: its file and line.

    A text with any number of labels has its `labels`. A conversation has its `messages`, or its tokens, besides; `text` and
    `label` are what a person reads of it. A preference has its `prompt` with what was `chosen` and `rejected`; an answer that
    was judged alone is a `completion` with a `kto_tag` that says whether it is wanted. A pair of texts has its second one as
    `text_pair`, and `whole_text` is the two as one. A key that was not given is not written.
    """

    text: str
    text_pair: str | None = None
    label: str
    place: str = Field(alias="from")
    labels: list[str] | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    choices: list[str] | None = None
    tokens: list[str] | None = None
    tags: list[str] | None = None
    input_ids: list[int] | None = None
    completion_mask: list[int] | None = None
    prompt: list[dict[str, Any]] | None = None
    chosen: list[dict[str, Any]] | None = None
    rejected: list[dict[str, Any]] | None = None
    completion: list[dict[str, Any]] | None = None
    kto_tag: bool | None = None

    @property
    def whole_text(self) -> str:
        """The text, of a pair both as one, as predictions have it."""
        return self.text if self.text_pair is None else joined_text(TextPair(self.text, self.text_pair))


class Machine(ComparisonPart):
    """machine.json: what the worker process found at the first start. `memory_bytes`: free memory."""

    device: str = ""
    cpu_count: int = 0
    memory_bytes: int = 0


class FindingRow(ComparisonPart):
    """Something to know about the data. `rows`: places."""

    code: str
    severity: Literal["error", "warning"] = "warning"
    message: str
    rows: list[str]
    fix: str


class PlannedMethod(ComparisonPart):
    """The plan of a method and what was chosen for it, or why it cannot be planned.

    `num_answers`: test prompts that a run of it would answer; None if it would answer none, or does not generate.
    """

    plan: PlanFile | None = None
    choices: list[Decision] = []
    error: str = ""
    num_answers: int | None = None


class MethodPlans(ComparisonPart):
    """plan-METHOD.json; plans.json has one for each memory limit. `findings`: what planning found in the texts."""

    methods: dict[str, PlannedMethod] = {}
    findings: list[FindingRow] = []


class PlansFile(Machine, ComparisonFile):
    """plans.json: what the starts of a comparison planned and chose, on the machine as the first start found it.

    `limits`: plans by the memory limit in bytes. `asked_jobs`: the last --jobs. `jobs_before`: of earlier starts.
    """

    limits: dict[str, MethodPlans] = {}
    threads: int = 0
    jobs: int = 0
    asked_jobs: int | None = None
    jobs_before: list[int] = []


class SearchFile(ComparisonFile):
    """search.json: what the search tried, by method."""

    methods: dict[str, TrialRecord]


class BaselineMetrics(ComparisonPart):
    """Metrics of a baseline whose predictions are no labels: `answers` of the generated ones; the loss if it has one."""

    model_config = ConfigDict(extra="allow")

    num_rows: int


class BaselineResult(ComparisonPart):
    """A baseline with one size of the training set. `predicted`, `probability`: for each test row.

    Where predictions are no labels: `rows` are the numbers of the test rows that have a score, `scores` and `predicted` the
    scores and the answers of these. `train_seconds`: None if there is nothing to fit.
    """

    predicted: list[str]
    probability: list[float] = []
    rows: list[int] = []
    scores: list[float] = []
    train_seconds: float | None
    trainable_parameters: int = Field(0, alias="parameters")
    chosen: str = ""
    validation_accuracy: float | None = None
    num_train: int
    metrics: ClassificationMetrics | BaselineMetrics = Field(union_mode="left_to_right")


class BaselineFile(ComparisonFile):
    """A file in `baselines`. `sizes`: by the size of the training set."""

    sizes: dict[str, BaselineResult]


class SpeedFile(ComparisonFile):
    """A file in `speeds`: how fast a method predicts, tokenisation included."""

    texts_per_second: float
    num_texts: int
    threads: int = 0


class TrainingCurves(ComparisonPart):
    """Points (epoch, value) of one run."""

    loss: Curve
    validation_accuracy: Curve = []
    validation_loss: Curve = []

    def smooth_loss(self) -> Curve:
        """Return the running mean of the loss, in which a new value has a weight of 0.3."""
        smoothed, mean = [], self.loss[0][1] if self.loss else 0.0
        for epoch, value in self.loss:
            mean += 0.3 * (value - mean)
            smoothed.append((epoch, mean))
        return smoothed


class MethodRow(ComparisonPart):
    """One method or baseline on the largest training set. What was not measured, and what has no meaning, is None.

    Accuracy, macro F1, confusion and calibration have no meaning where predictions are no labels. `score` is the mean over test
    rows and seeds of `ComparisonResultsFile.metric`, which is the accuracy where predictions are labels. Files of earlier
    versions have the accuracy alone, and are read as if it were there as the score too.
    """

    method: str
    kind: Kind
    summary: str
    status: Literal["measured", "partly measured", "not measured"]
    message: str
    score: float | None = None
    score_ci95: Interval | None = None
    scores: list[float] = []
    """Score of each seed."""
    test_metrics: dict[str, float] = {}
    """Further metrics of the test rows by name, means over seeds: for language models loss, perplexity and token accuracy."""
    accuracy: float | None
    accuracy_ci95: Interval | None
    macro_f1: float | None
    macro_f1_ci95: Interval | None
    accuracies: list[float] | None
    """Test accuracy of each seed."""
    seeds: list[int]
    difference_to_best: float | None
    """Score minus that of the best method."""
    p_value: float | None
    differs_from_best: bool | None = Field(alias="told_apart_from_best")
    """Whether the difference to the best is significant."""
    num_train: int | None
    trainable_parameters: int | None
    total_parameters: int | None
    trainable_fraction: float | None
    predict_texts_per_second: float | None
    chosen: str | None
    """What a baseline chose on the validation rows."""
    confusion: list[list[float]] | None
    """Test rows by label and predicted label, mean over seeds, shape (labels, labels); None with very many labels."""
    calibration: Curve
    """Points (mean probability, accuracy)."""
    calibration_error: float | None
    uncalibrated_error: float | None = None
    """The same without temperature scaling; None where none was fitted."""
    training: list[TrainingCurves]
    runs: list[str]
    """Run folders, relative to the comparison's."""
    train_seconds: float | None
    best_seconds: float | None
    """Seconds until the saved weights were reached."""
    planned_seconds: float | None
    peak_memory_bytes: int | None
    planned_peak_memory_bytes: int | None
    artifact_bytes: int | None

    @model_validator(mode="before")
    @classmethod
    def _score_of_earlier_versions(cls, values: Any) -> Any:
        if isinstance(values, dict) and "score" not in values and "accuracy" in values:
            own = {"score": values["accuracy"], "score_ci95": values.get("accuracy_ci95"), "scores": values.get("accuracies")}
            return own | values
        return values


class PairRow(ComparisonPart):
    """Score of the first minus that of the second, tested. `p_value`: corrected for the number of pairs."""

    first: str
    second: str
    difference: float
    p_value: float
    is_significant: bool = Field(alias="told_apart")


class CurveRow(ComparisonPart):
    """One method or baseline on one size of the training set."""

    method: str
    size: str
    num_train: int | None
    score: float
    score_ci95: Interval
    accuracy: float | None = None
    accuracy_ci95: Interval | None = None
    macro_f1: float | None
    macro_f1_ci95: Interval | None

    @model_validator(mode="before")
    @classmethod
    def _score_of_earlier_versions(cls, values: Any) -> Any:
        if isinstance(values, dict) and "score" not in values and "accuracy" in values:
            return {"score": values["accuracy"], "score_ci95": values.get("accuracy_ci95")} | values
        return values


class DataSummary(ComparisonPart):
    """The data by name. `name`: short, for headings."""

    source: str
    name: str
    rows: SplitRows
    labels: list[str]


class DisagreementRow(ComparisonPart):
    """A test row that the methods label differently. `place`: its file and line. `predicted`: by method.

    Where predictions are no labels: a row on which the scores differ; `predicted`: the answer of the first seed, `scores`: the
    mean over seeds.
    """

    text: str
    label: str
    place: str = Field(alias="from")
    predicted: dict[str, str]
    scores: dict[str, float] | None = None


class ComparisonResultsFile(ComparisonFile):
    """results.json. `methods`: the best first. `requested`: the methods that were asked for.

    `task`: of all runs. `metric`: name of the score that all are compared by, the mean over the test rows; `metric_words`: what
    people call it. `num_scored`: test rows that have a score; None for all of them.
    """

    task: str = tasks.DEFAULT
    metric: str = _DEFAULT_METRIC.name
    metric_words: str = _DEFAULT_METRIC.title
    num_scored: int | None = None

    verdict: str
    verdict_sentences: list[str]
    methods: list[MethodRow]
    pairs: list[PairRow]
    curve: list[CurveRow]
    requested: list[str] = Field(alias="ways")
    seeds: list[int]
    train_sizes: list[str]
    search: dict[str, TrialRecord]
    data: DataSummary
    model: dict[str, str]
    budget_bytes: int
    jobs: int
    threads: int
    notes: list[str]
    findings: list[FindingRow]
    disagreements: list[DisagreementRow]
    num_disagreements: int
    command: str
    versions: dict[str, Any]
    hardware: dict[str, Any]

    @property
    def has_classes(self) -> bool:
        """Whether each prediction is one label."""
        return bool(self.data.labels) and self.metric == _DEFAULT_METRIC.name

    @property
    def measured(self) -> list[MethodRow]:
        """Rows of the methods and baselines that were measured."""
        return [row for row in self.methods if row.score is not None]

    @property
    def by_method(self) -> dict[str, MethodRow]:
        """Rows by the name of the method or baseline."""
        return {row.method: row for row in self.methods}
