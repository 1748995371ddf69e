"""The files of a run, one model each. Nothing else writes or reads them.

Unknown keys are ignored when a file is read. A file of a newer version is refused.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data.columns import Columns
from finewright.runs.artifact import Artifact, VersionedFile
from finewright.runs.split_metrics import BaselineScore, RunMetrics, SplitMetrics, TagScore

F = TypeVar("F", bound=Artifact)


class Decision(Artifact):
    """An option that was left open, its value, and why."""

    option: str
    value: Any
    reason: str


class ModelName(Artifact):
    """Where the base model came from."""

    name: str
    revision: str = ""


class ColumnsRecord(Artifact):
    """The columns that the training rows were read from. `form`: what several columns of texts are, in this order.
    `label_separator`: between several labels in one cell. `decimal`: sign that begins the decimals of numbers, `percent`: whether
    these are percent; empty and None where the rows do not tell it."""

    texts: list[str]
    label: str
    form: Literal["joined", "named", "pair"] = "joined"
    label_separator: str = ""
    decimal: Literal["", "point", "comma"] = ""
    percent: bool | None = None

    @classmethod
    def of(cls, columns: Columns) -> "ColumnsRecord":
        """Return the record of these columns."""
        return cls.model_validate(vars(columns) | {"texts": list(columns.texts)})

    def columns(self) -> Columns:
        """Return the columns that are recorded."""
        return Columns(**dict(self) | {"texts": tuple(self.texts)})


class ReviewThreshold(Artifact):
    """The confidence below which a prediction needs review, and why it is this one."""

    threshold: float = Field(ge=0, le=1)
    reason: str


class CoverageRecord(Artifact):
    """How many validation rows are at least this certain, and how many of these are right."""

    threshold: float = Field(ge=0, le=1)
    num_rows: int = Field(ge=1)
    num_right: int = Field(ge=0)


class CalibrationFile(VersionedFile):
    """calibration.json of a model folder: what the scores are divided by before they become probabilities, and how certain the
    model then is of the validation rows. `is_fitted`: whether the temperature was fitted on them; else it is 1."""

    temperature: float = Field(1.0, gt=0)
    is_fitted: bool = False
    num_rows: int = Field(ge=1)
    coverage: list[CoverageRecord] = Field(min_length=1)


class CalibrationRecord(Artifact):
    """The temperature that was fitted on `rows` validation rows. `ece_before`, `ece_after`: expected calibration error on the
    split `on` without and with it; None without test rows."""

    temperature: float = Field(gt=0)
    rows: int = Field(ge=1)
    ece_before: float | None = None
    ece_after: float | None = None
    on: str | None = None

    def describe(self) -> str:
        """Return one line about it."""
        fitted = f"temperature {self.temperature:.3g} from {counted(self.rows, 'validation row')}"
        if self.ece_before is None or self.ece_after is None:
            return fitted
        return f"{self.ece_before:.1%} → {self.ece_after:.1%} on the {self.on} rows ({fitted})"


class RequestRecord(Artifact):
    """The request of a run, with open options still open."""

    source: str
    test: str | None
    settings: dict[str, Any]
    method: str
    method_options: dict[str, Any]


class Change(Artifact):
    """An option that was changed inside a run, after `step` updates."""

    option: str
    before: Any = Field(alias="from")
    after: Any = Field(alias="to")
    step: int = 0


class RunConfigFile(VersionedFile):
    """config.json: the request, every resolved option, and the fingerprint that a resumed run must match.

    When a run begins, only `request` is there; the rest follows before the first step.
    """

    request: RequestRecord
    changes: list[Change] = []
    task: str = ""
    settings: dict[str, Any] = {}
    method: str = ""
    method_options: dict[str, Any] = {}
    choices: list[Decision] = []
    model: ModelName | None = None
    data_fingerprint: str = ""
    held_out: list[str] = []
    """How each split was held out that the data has not."""
    columns: ColumnsRecord | None = None
    labels: list[str] = []
    lineage: list[dict[str, Any]] = []
    max_length: int | None = Field(None, ge=1)
    precision: str = ""
    fingerprint: dict[str, Any] | None = None

    @property
    def bfloat16(self) -> bool:
        """Whether matrix products run in bfloat16."""
        return self.precision == "bfloat16"


class PlanFile(VersionedFile):
    """plan.json: what the run was expected to take. `memory`: bytes by part."""

    model_config = ConfigDict(extra="allow")

    method: str
    trainable_parameters: int
    head_parameters: int
    total_parameters: int
    peak_memory_bytes: int
    memory: dict[str, int]
    flops: int
    seconds: float
    artifact_bytes: int
    fits: bool
    budget_bytes: int


class BaselinePlanFile(VersionedFile):
    """plan.json of a baseline: what is fitted to how much. Memory and time are not planned, so they are None."""

    method: str
    model: str
    num_train: int
    num_validation: int
    num_test: int
    num_labels: int
    num_characters: int
    """Characters of the training texts."""
    peak_memory_bytes: None = None
    seconds: None = None


class TagsFile(VersionedFile):
    """tags.json: names that a user gave to a run or a comparison, in alphabetical order."""

    tags: list[str] = []


class FindingRecord(Artifact):
    """A finding about the data, with the rows it is about."""

    model_config = ConfigDict(extra="allow")

    message: str


class ExamplePiece(Artifact):
    """A piece of a training text, and whether its tokens are trained."""

    text: str
    trained: bool


class ChecksFile(VersionedFile):
    """checks.json. `example`: of a language model's data, a training text in pieces with whether each is trained."""

    findings: list[FindingRecord]
    example: list[ExamplePiece] = []


class RunLine(Artifact):
    """A line of a JSON-lines file."""

    file: ClassVar[str]
    """Name of the file in the run's folder."""


class MetricsLine(RunLine):
    """A line of metrics.jsonl: a logged step, or an evaluation of the validation split."""

    file: ClassVar[str] = "metrics.jsonl"

    step: int
    epoch: float
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    validation: dict[str, float] | None = None


class TimingsLine(RunLine):
    """A line of timings.jsonl. `seconds`: training time of all sessions until the step was logged."""

    file: ClassVar[str] = "timings.jsonl"

    step: int
    seconds: float


class PredictionLine(RunLine):
    """A line of predictions.jsonl: a test row with its label and the predicted one. Other tasks have keys of their own."""

    model_config = ConfigDict(extra="allow")
    file: ClassVar[str] = "predictions.jsonl"

    text: str
    label: str
    predicted: str | None = None
    """The predicted label; None where predictions are not labels."""
    probability: float | None = None
    where: str = ""
    score: float | None = None
    """How good the prediction is, higher is better; None where it is right or wrong."""
    pair: tuple[str, str] | None = None
    """The two texts of a row that is a pair; `text` is these as one."""

    @property
    def row_score(self) -> float:
        """The score that paired tests compare: 1 for a right and 0 for a wrong prediction, unless the task has another."""
        return float(self.label == self.predicted) if self.score is None else self.score


class UntunedResult(Artifact):
    """The model before its first update, on the same rows."""

    metrics: RunMetrics


class ProbeResult(Artifact):
    """The regression on the frozen features that the head started from, or what `described` says. `strength`: its C. `num_rows`:
    training rows it was fitted to. `metrics`: before the first update. `softness`: the outputs were multiplied by it then."""

    strength: float
    num_rows: int
    seconds: float
    metrics: RunMetrics
    described: str = ""
    softness: float = 1.0


class RunResult(VersionedFile):
    """result.json: written last, so that its existence means that the run is complete. Bytes and seconds.

    `sessions`: how often the run was started. `stage_seconds`: seconds of each (`core.events.MeasuredStage`) in the last one.
    `verification_difference`: largest difference between the scores of the saved model, reloaded in another process, and the
    trained one's. `stopped_early`: before the last of `planned_steps`, because validation no longer improved; `planned_seconds`
    are those of all planned steps. `cpu_share`: of the processor time that training could have had in the last session.
    `best_step` 0: no update made the model better than the start of its head, which `probe` has, or None. `baselines`: on the
    same test rows, by name; `baseline_metrics`: without an accuracy, `tag_baselines`: of tags. The run of a baseline has no plan.
    """

    method: str
    model: str
    model_revision: str = ""
    task: str = "text-classification"
    seed: int = 0
    num_train: int = Field(ge=1)
    num_validation: int = 0
    num_test: int = 0
    trainable_parameters: int = Field(ge=0)
    head_parameters: int = Field(ge=0)
    total_parameters: int = Field(ge=1)
    trainable_fraction: float = 0.0
    epochs: float = Field(ge=0)
    steps: int = Field(ge=0)
    best_step: int = Field(ge=0)
    probe: ProbeResult | None = None
    untuned: UntunedResult | None = None
    stopped_early: bool = False
    planned_epochs: float = 0.0
    planned_steps: int = 0
    train_seconds: float = Field(gt=0)
    cpu_share: float | None = None
    saving_seconds: float = 0.0
    stage_seconds: dict[str, float] = {}
    examples_per_second: float = 0.0
    tokens_per_second: float = 0.0
    padding_fraction: float = 0.0
    frozen_layers_cached: bool = Field(False, alias="trunk_cached")
    micro_batch_splits: int = 0
    sessions: int = 1
    changes: list[Change] = []
    lineage: list[dict[str, Any]] = []
    peak_memory_bytes: int = 0
    peak_resident_bytes: int = 0
    planned_peak_memory_bytes: int = 0
    planned_seconds: float = 0.0
    metrics: RunMetrics
    review: ReviewThreshold | None = None
    calibration: CalibrationRecord | None = None
    baselines: dict[str, BaselineScore] = {}
    baseline_metrics: dict[str, SplitMetrics] = {}
    tag_baselines: dict[str, TagScore] = {}
    artifact_bytes: int = Field(ge=0)
    files: dict[str, str] = {}
    verification_difference: float = 0.0
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    git: Any = None

    @property
    def planned_seconds_for_steps(self) -> float:
        """The planned time for the steps that were made; all of it unless the run stopped early."""
        return self.planned_seconds * (self.steps / self.planned_steps if self.stopped_early else 1)

    @property
    def seconds_saved_by_stopping(self) -> float:
        """About how much longer the remaining steps would have taken, by the mean of those that were made."""
        left = self.planned_steps - self.steps if self.stopped_early else 0
        return (self.train_seconds - self.saving_seconds) / self.steps * left


def dump(artifact: Artifact) -> dict[str, Any]:
    """Return what goes into the file, JSON-ready, by the names that the file has."""
    return artifact.model_dump(mode="json", by_alias=True)


def write(path: Path, artifact: Artifact) -> None:
    """Write a JSON file atomically."""
    files.write_atomic(path, json.dumps(dump(artifact), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, lines: Iterable[Artifact]) -> None:
    """Write a JSON-lines file atomically."""
    files.write_atomic(path, "".join(json.dumps(dump_line(line), ensure_ascii=False, allow_nan=False) + "\n" for line in lines))


def dump_line(line: Artifact) -> dict[str, Any]:
    """Return what goes into a line of a JSON-lines file: what was given, without defaults."""
    return line.model_dump(mode="json", by_alias=True, exclude_unset=True)


def parse(kind: type[F], value: Any, *, where: Path) -> F:
    """Return the contents of a file as its model; a newer or a damaged one is a `UserError`."""
    version = value.get("schema_version", 1) if isinstance(value, dict) else 1
    if isinstance(version, int) and version > kind.newest:
        what = f"written by a newer version of finewright (schema {version}, known here: {kind.newest})"
        raise UserError(what, where=str(where), fix="update finewright", code=ExitCode.MISMATCH)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"not readable: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        if issubclass(kind, VersionedFile) and isinstance(value, dict) and "schema_version" not in value:
            what += "; it was written by an older version of finewright"
        raise UserError(what, where=str(where), fix=kind.repair, code=ExitCode.MISMATCH) from None


def read(kind: type[F], path: Path) -> F:
    """Read a JSON file. Raise `UserError` if it is absent, unreadable or not what `kind` describes."""
    return parse(kind, read_json(path, kind=kind), where=path)


def read_lines(kind: type[F], path: Path) -> list[F]:
    """Read a JSON-lines file. Raise `UserError` if it is absent, unreadable or not what `kind` describes."""
    return [parse(kind, value, where=path) for value in read_json(path, kind=kind, lines=True)]


def read_json(path: Path, *, kind: type[Artifact] = Artifact, lines: bool = False) -> Any:
    """Return a JSON file, or a list with each of its `lines`, as plain values. Raise `UserError` if it is absent or broken."""
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line] if lines else json.loads(text)
    except FileNotFoundError:
        what = f"the {kind.owner} has no {path.name}"
        raise UserError(what, where=str(path.parent), fix=kind.repair, code=ExitCode.MISMATCH) from None
    except OSError as error:
        raise files.access_error(error, path, "read") from None
    except ValueError as error:
        raise UserError(f"not readable: {error}", where=str(path), fix=kind.repair, code=ExitCode.MISMATCH) from None
