"""The files of a run, one model each. Nothing else writes or reads them.

Unknown keys are ignored when a file is read. A file of a newer version is refused.
"""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from finewright.core.errors import ExitCode, UserError

SCHEMA_VERSION = 2
"""Version 1 had no number in its files."""


class Artifact(BaseModel):
    """A file of a run, or a part of one."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())


class VersionedFile(Artifact):
    """A whole JSON file."""

    schema_version: int = SCHEMA_VERSION


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


class RequestRecord(Artifact):
    """The request of a run, with open options still open."""

    source: str
    test: str | None
    settings: dict[str, Any]
    method: str
    method_options: dict[str, Any]


class RunConfigFile(VersionedFile):
    """config.json: the request, every resolved option, and the fingerprint that a resumed run must match.

    When a run begins, only `request` is there; the rest follows before the first step.
    """

    request: RequestRecord
    changes: list[dict[str, Any]] = []
    task: str = ""
    settings: dict[str, Any] = {}
    method: str = ""
    method_options: dict[str, Any] = {}
    choices: list[Decision] = []
    model: ModelName | None = None
    data_fingerprint: str = ""
    labels: list[str] = []
    max_length: int | None = Field(None, ge=1)
    precision: str = ""
    fingerprint: dict[str, Any] | None = None

    @property
    def bfloat16(self) -> bool:
        """Whether matrix products run in bfloat16."""
        return self.precision == "bfloat16"


class PlanFile(VersionedFile):
    """plan.json: what the run was expected to take. `memory`: bytes by part."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())

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


class FindingRecord(Artifact):
    """A finding about the data, with the rows it is about."""

    model_config = ConfigDict(extra="allow", frozen=True)

    message: str


class ChecksFile(VersionedFile):
    """checks.json."""

    findings: list[FindingRecord]


class MetricsLine(Artifact):
    """A line of metrics.jsonl: a logged step, or an evaluation of the validation split."""

    step: int
    epoch: float
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    validation: dict[str, float] | None = None


class ClassMetrics(Artifact):
    """One label of a split."""

    precision: float = 0.0
    recall: float = 0.0
    f1: float
    num_rows: int = Field(ge=0)


class SplitMetrics(Artifact):
    """Metrics of a split. A task has keys of its own beside these."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    num_rows: int = Field(ge=1)
    loss: float
    worst_mistakes: list[dict[str, Any]] = []


class ClassificationMetrics(SplitMetrics):
    """Metrics of a split with one label for each text."""

    accuracy: float = Field(ge=0, le=1)
    accuracy_ci95: tuple[float, float]
    macro_f1: float
    majority_accuracy: float = Field(ge=0, le=1)
    calibration_error: float = 0.0
    per_class: dict[str, ClassMetrics] = {}
    confusion: list[list[int]] = []

    @property
    def is_better_than_majority(self) -> bool:
        """Whether the interval of the accuracy lies above always guessing the most frequent label."""
        return self.accuracy_ci95[0] > self.majority_accuracy


def _metrics_kind(value: Any) -> str:
    """Return the tag of a split's metrics: a class has an accuracy, a number has none."""
    names = value if isinstance(value, dict) else vars(value)
    return "classification" if names.keys() & {"accuracy", "confusion", "per_class"} else "other"


AnyMetrics = Annotated[
    Annotated[ClassificationMetrics, Tag("classification")] | Annotated[SplitMetrics, Tag("other")], Discriminator(_metrics_kind)
]


class RunMetrics(Artifact):
    """Metrics by split; a split that is not there is None."""

    test: AnyMetrics | None = None
    validation: AnyMetrics | None = None


class RunResult(VersionedFile):
    """result.json: written last, so that its existence means that the run is complete. Bytes and seconds.

    `sessions`: how often the run was started. `stage_seconds`: duration of each stage (`core.events.Stage`) in the last one.
    `verification_difference`: largest difference between the scores of the saved model, reloaded in another process, and the
    trained one's.
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
    epochs: float = Field(gt=0)
    steps: int = Field(ge=1)
    best_step: int = Field(ge=0)
    train_seconds: float = Field(gt=0)
    saving_seconds: float = 0.0
    stage_seconds: dict[str, float] = {}
    examples_per_second: float = 0.0
    tokens_per_second: float = 0.0
    padding_fraction: float = 0.0
    trunk_cached: bool = False
    micro_batch_splits: int = 0
    sessions: int = 1
    changes: list[dict[str, Any]] = []
    peak_memory_bytes: int = 0
    peak_resident_bytes: int = 0
    planned_peak_memory_bytes: int = 0
    planned_seconds: float = 0.0
    metrics: RunMetrics
    artifact_bytes: int = Field(ge=0)
    files: dict[str, str] = {}
    verification_difference: float = 0.0
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    git: Any = None


def dump(artifact: Artifact) -> dict[str, Any]:
    """Return what goes into the file, JSON-ready."""
    return artifact.model_dump(mode="json")


def parse(kind: type[F], value: Any, *, where: Path) -> F:
    """Return the contents of a file as its model; a newer or a damaged one is a `UserError`."""
    version = value.get("schema_version", 1) if isinstance(value, dict) else 1
    if isinstance(version, int) and version > SCHEMA_VERSION:
        what = f"written by a newer version of finewright (schema {version}, known here: {SCHEMA_VERSION})"
        raise UserError(what, where=str(where), fix="update finewright", code=ExitCode.MISMATCH)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        old = " by an older version of finewright" if isinstance(value, dict) and "schema_version" not in value else ""
        what = f"not readable: {place}: {first['msg']}" + (f"; it was written{old}" if old else "")
        raise UserError(what, where=str(where), fix="train it again", code=ExitCode.MISMATCH) from None


def read(kind: type[F], path: Path) -> F:
    """Read a file of a run; absent, unreadable or broken is a `UserError`."""
    try:
        return parse(kind, json.loads(path.read_text(encoding="utf-8")), where=path)
    except FileNotFoundError:
        what = f"the run has no {path.name}"
        raise UserError(what, where=str(path.parent), fix="train it again", code=ExitCode.MISMATCH) from None
    except OSError as error:
        fix = "let this user read and write it, or repair the disk; then the same command continues"
        raise UserError(f"cannot read here: {error.strerror}", where=str(path), fix=fix, code=ExitCode.DISK) from None
    except ValueError as error:
        raise UserError(f"not readable: {error}", where=str(path), fix="train it again", code=ExitCode.MISMATCH) from None
