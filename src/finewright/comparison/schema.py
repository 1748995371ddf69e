"""The files of a comparison: `compare.json` (what was asked for) and `results.json` (what was found).

Both are written and read through these models only. Unknown keys are ignored, so that a later version may add some.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finewright.comparison.search import Trial
from finewright.comparison.spec import ComparisonSpec
from finewright.core.errors import ExitCode, UserError

SCHEMA_VERSION = 1

Kind = Literal["pretrained", "random", "baseline"]
Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""
Curve = list[tuple[float, float]]
"""Points (x, y). In training curves x is the epoch."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=(), populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """Return plain values by the names that the file has."""
        return self.model_dump(mode="json", by_alias=True)


class _File(_Part):
    schema_version: int = Field(ge=1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raise `UserError` if it is absent, broken, or of a newer version of Finewright."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.get("schema_version") if isinstance(content, dict) else None
            if isinstance(version, int) and version > SCHEMA_VERSION:
                what = f"schema_version is {version}, this version of Finewright reads up to {SCHEMA_VERSION}"
                raise UserError(what, where=str(path), fix="update Finewright", code=ExitCode.MISMATCH)
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            what = f"not a comparison's {path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        except (OSError, ValueError) as error:
            what = f"not readable: {error}"
        raise UserError(what, where=str(path), fix="choose another --out and compare again", code=ExitCode.MISMATCH)


class SplitRows(_Part):
    """Number of rows of each split."""

    train: int
    validation: int
    test: int


class SpecData(_Part):
    """The data by its content. `fingerprint`: SHA-256 of split, text and label of all rows."""

    fingerprint: str
    rows: SplitRows
    labels: tuple[str, ...]


class ComparisonSpecFile(_File):
    """compare.json: what was asked for, of which data and which model. None of it may change in a comparison, except paths.

    `model`: its name, and its revision on the hub or the SHA-256 of every weight file.
    """

    asked: ComparisonSpec
    data: SpecData
    model: dict[str, str]


class TrainingCurves(_Part):
    """Points (epoch, value) of one run."""

    loss: Curve
    validation_accuracy: Curve


class MethodRow(_Part):
    """One method or baseline on the largest training set. What was not measured is None."""

    method: str
    kind: Kind
    summary: str
    status: Literal["measured", "partly measured", "not measured"]
    message: str
    accuracy: float | None
    accuracy_ci95: Interval | None
    macro_f1: float | None
    macro_f1_ci95: Interval | None
    accuracies: list[float]
    """Test accuracy of each seed."""
    seeds: list[int]
    difference_to_best: float | None
    """Accuracy minus that of the most accurate method."""
    p_value: float | None
    told_apart_from_best: bool | None
    num_train: int | None
    trainable_parameters: int | None
    total_parameters: int | None
    trainable_fraction: float | None
    predict_texts_per_second: float | None
    chosen: str | None
    """What a baseline chose on the validation rows."""
    confusion: list[list[float]] | None
    """Test rows by label and predicted label, mean over seeds, shape (labels, labels)."""
    calibration: Curve
    """Points (mean probability, accuracy)."""
    calibration_error: float | None
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


class PairRow(_Part):
    """Accuracy of the first minus that of the second, tested. `p_value`: corrected for the number of pairs."""

    first: str
    second: str
    difference: float
    p_value: float
    told_apart: bool


class CurveRow(_Part):
    """One method or baseline on one size of the training set."""

    method: str
    size: str
    num_train: int | None
    accuracy: float
    accuracy_ci95: Interval
    macro_f1: float
    macro_f1_ci95: Interval


class SearchRow(_Part):
    """What a search tried for one method."""

    trials: list[Trial]
    best: Trial | None


class DataSummary(_Part):
    """The data by name. `name`: short, for headings."""

    source: str
    name: str
    rows: SplitRows
    labels: list[str]


class FindingRow(_Part):
    """Something to know about the data. `rows`: places."""

    code: str
    severity: Literal["error", "warning"] = "warning"
    message: str
    rows: list[str]
    fix: str


class DisagreementRow(_Part):
    """A test row that the methods label differently. `place`: its file and line. `predicted`: by method."""

    text: str
    label: str
    place: str = Field(alias="from")
    predicted: dict[str, str]


class ComparisonResultsFile(_File):
    """results.json. `methods`: the most accurate first. `ways`: the methods that were asked for."""

    verdict: str
    verdict_sentences: list[str]
    methods: list[MethodRow]
    pairs: list[PairRow]
    curve: list[CurveRow]
    ways: list[str]
    seeds: list[int]
    train_sizes: list[str]
    search: dict[str, SearchRow]
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
    def by_method(self) -> dict[str, MethodRow]:
        """Rows by the name of the method or baseline."""
        return {row.method: row for row in self.methods}
