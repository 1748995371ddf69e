"""Metrics of a split as a run's files have them."""

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag

from finewright.runs.artifact import Artifact


class ClassMetrics(Artifact):
    """One label of a split."""

    precision: float = 0.0
    recall: float = 0.0
    f1: float
    num_rows: int = Field(ge=0)


class Confusion(Artifact):
    """How many rows with one label were taken for another one."""

    label: str
    predicted: str
    num_rows: int = Field(ge=1)


class LevelMetrics(Artifact):
    """A level of labels such as `Phones > Cases`: how often it and all above it are right. `level`: 1 for the first one."""

    level: int = Field(ge=1)
    num_labels: int = Field(ge=2)
    num_rows: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)
    accuracy_ci95: tuple[float, float]


class SplitMetrics(Artifact):
    """Metrics of a split. A task has keys of its own beside these."""

    model_config = ConfigDict(extra="allow")

    num_rows: int = Field(ge=1)
    loss: float
    worst_mistakes: list[dict[str, Any]] = []


class ClassificationMetrics(SplitMetrics):
    """Metrics of a split with one label for each text. `confusion`: empty with very many labels, where `confusions` has the most
    frequent ones. `levels`, `hierarchical_f1`: only of labels in levels."""

    accuracy: float = Field(ge=0, le=1)
    accuracy_ci95: tuple[float, float]
    macro_f1: float
    majority_accuracy: float = Field(ge=0, le=1)
    calibration_error: float = 0.0
    per_class: dict[str, ClassMetrics] = {}
    confusion: list[list[int]] = []
    confusions: list[Confusion] = []
    levels: list[LevelMetrics] = []
    hierarchical_f1: float | None = None
    review: dict[str, float] | None = None

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


class BaselineScore(Artifact):
    """How a baseline does on the test rows."""

    accuracy: float = Field(ge=0, le=1)
    accuracy_ci95: tuple[float, float]


class TagScore(Artifact):
    """How a baseline for tags of words does on the test rows, by the metric that decides."""

    metric: str
    value: float = Field(ge=0, le=1)
    ci95: tuple[float, float]
