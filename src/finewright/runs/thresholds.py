"""The threshold of each label of a run: fitted on its validation rows, kept beside the weights, used by every prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.runs.artifact import SCHEMA_VERSION
from finewright.runs.calibration import Calibration
from finewright.runs.context import SessionContext
from finewright.runs.schema import VersionedFile, read
from finewright.tasks.base import Task

if TYPE_CHECKING:
    import numpy as np

THRESHOLDS_FILE = "thresholds.json"
_SHOWN = 8
_CARD_NOTE = """
A text has a label if its probability, `scores.sigmoid()`, is at least the label's threshold in `{name}`: that of the best F1 on
{rows}, drawn towards 0.5 for labels with few rows. `finewright predict` uses it. Other programs do not:
transformers' pipeline gives every label's probability with `top_k=None`.
"""


class ThresholdsFile(VersionedFile):
    """thresholds.json of a model folder: the probability from which on a text has a label, by label, fitted on `num_rows`."""

    newest: ClassVar[int] = SCHEMA_VERSION

    num_rows: int = Field(ge=1)
    thresholds: dict[str, float]

    @field_validator("thresholds")
    @classmethod
    def _are_shares(cls, values: dict[str, float]) -> dict[str, float]:
        if not all(0 <= value <= 1 for value in values.values()):
            raise ValueError("wanted thresholds from 0 to 1")
        return values


def fit_for_run(context: SessionContext, task: Task, outputs: "np.ndarray", targets: Sequence[Any]) -> Calibration:
    """Return the task with thresholds fitted on these outputs of the validation rows; write them beside the saved model."""
    task = task.fit_thresholds(outputs, targets)
    assert task.thresholds is not None, "a task that fits thresholds has some"
    found = ThresholdsFile(num_rows=len(targets), thresholds=dict(zip(task.labels, task.thresholds, strict=True)))
    context.folder.write(context.folder.model / THRESHOLDS_FILE, found)
    evaluation = task.start_evaluation(targets)
    evaluation.update(range(len(targets)), outputs)
    context.notify(describe(found), level="detail", code="thresholds")
    return Calibration(task, metrics=evaluation.metrics())


def describe(file: ThresholdsFile) -> str:
    """Return one line about the thresholds."""
    shown = ", ".join(f"{label} {value:.2f}" for label, value in list(file.thresholds.items())[:_SHOWN])
    more = f" and {len(file.thresholds) - _SHOWN:,} more" if len(file.thresholds) > _SHOWN else ""
    return f"thresholds of the labels from {counted(file.num_rows, 'validation row')}: {shown}{more}"


def read_thresholds(model_folder: Path) -> ThresholdsFile | None:
    """Return the thresholds of a saved model; None if it has none. Raise `UserError` if the file is damaged."""
    path = model_folder / THRESHOLDS_FILE
    return read(ThresholdsFile, path) if path.exists() else None


def with_saved_thresholds(task: Task, model_folder: Path) -> Task:
    """Return the task with the thresholds of a saved model, itself if there are none. Raise `UserError` if labels have none."""
    file = read_thresholds(model_folder) if task.fits_thresholds else None
    if file is None:
        return task
    if missing := [label for label in task.labels if label not in file.thresholds]:
        where = str(model_folder / THRESHOLDS_FILE)
        raise UserError(f"no threshold of the label {missing[0]!r}", where=where, fix="train it again", code=ExitCode.MISMATCH)
    return task.with_thresholds([file.thresholds[label] for label in task.labels])


def describe_for_card(model_folder: Path) -> str:
    """Return what a model card says of the thresholds; empty if there are none."""
    file = read_thresholds(model_folder)
    return "" if file is None else _CARD_NOTE.format(name=THRESHOLDS_FILE, rows=counted(file.num_rows, "validation row"))
