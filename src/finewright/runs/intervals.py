"""Intervals of predicted numbers: the errors on the validation rows, kept beside the weights.

Weights and outputs stay as they are; only `low` and `high` of a prediction are computed with it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from finewright.core.errors import UserError
from finewright.core.units import counted
from finewright.runs import schema
from finewright.runs.schema import VersionedFile
from finewright.tasks.base import Task

if TYPE_CHECKING:
    import numpy as np

    from finewright.models.prepared import PreparedModel
    from finewright.runs.calibration import Calibration
    from finewright.runs.context import RunContext, SessionContext
    from finewright.runs.stages import SelectedMethod

INTERVALS_FILE = "intervals.json"
LEVEL = 0.9
"""Share of new rows that an interval shall hold unless the user wants another one."""


class IntervalsFile(VersionedFile):
    """intervals.json. `mean`, `std`: of the training rows. `errors`: absolute errors of the validation rows, ascending."""

    mean: float
    std: float = Field(gt=0)
    errors: list[float] = []


def keep_errors(
    context: "RunContext", calibrated: "Calibration", selected: "SelectedMethod", model: "PreparedModel"
) -> "Calibration":
    """Keep the errors of a network on the validation rows, where the task has intervals.

    Return the calibration with the task whose predictions have them.
    """
    from finewright.inference import scoring

    task, encoded = calibrated.task, selected.planned.splits["validation"]
    if not task.scales_head:
        return calibrated
    outputs = scoring.score_split(model, encoded) if encoded.ids else None
    return dataclasses.replace(calibrated, task=write_errors(context, task, outputs, encoded.targets))


def write_errors(context: "SessionContext", task: Task, outputs: "np.ndarray | None", targets: Sequence[Any]) -> Task:
    """Write the errors on the validation rows beside the saved model, where the task has intervals; say what they are.

    `outputs`: for these rows, None without any. Return the task whose predictions have intervals.
    """
    kept = task.describe_errors(outputs, targets)
    if kept is None:
        return task
    file = IntervalsFile.model_validate(kept)
    context.folder.write(context.folder.model / INTERVALS_FILE, file)
    context.notify(describe_errors(file), level="detail" if file.errors else "warning", code="intervals")
    return task.with_errors(kept, level=LEVEL)


def describe_errors(file: IntervalsFile) -> str:
    """Return what the intervals of predictions come from, or why there are none."""
    rows = len(file.errors)
    if not rows:
        return "predictions have no intervals: there are no validation rows to measure errors on"
    least = least_rows(LEVEL)
    if rows < least:
        found = counted(rows, "validation row is", "validation rows are")
        return f"predictions have no {LEVEL:.0%} intervals: {found} too few, {least} are needed"
    few = "; with so few the share inside may be far from it" if rows < FEW_ROWS else ""
    return f"predictions have {LEVEL:.0%} intervals from the errors of {counted(rows, 'validation row')}{few}"


FEW_ROWS = 50
"""Validation rows below which the coverage of an interval varies much from one choice of rows to another."""


def least_rows(level: float) -> int:
    """Return the fewest validation rows of intervals of this level."""
    from finewright.tasks import number_metrics

    return number_metrics.least_rows_for(level)


def read_errors(model_folder: Path) -> IntervalsFile | None:
    """Return the errors that are kept beside a saved model; None if there are none. Raise `UserError` if they are damaged."""
    path = model_folder / INTERVALS_FILE
    return schema.read(IntervalsFile, path) if path.exists() else None


def add_intervals(task: Task, model_folder: Path, *, level: float | None) -> Task:
    """Return the task whose predictions have intervals, if the saved model has errors of validation rows.

    `level`: share of new rows inside; None for `LEVEL`. Raise `UserError` if it is no share, if the task has no intervals, or if
    the validation rows are too few for it.
    """
    file = read_errors(model_folder)
    if level is not None:
        _check_level(level, task, file)
    if file is None:
        return task
    return task.with_errors(file.model_dump(), level=LEVEL if level is None else level)


def _check_level(level: float, task: Task, file: IntervalsFile | None) -> None:
    if not 0 < level < 1:
        raise UserError(f"wanted a share between 0 and 1, found {level:g}", where="interval", fix="for instance 0.9")
    if file is None:
        raise UserError(f"{task.name} has no intervals", where="interval", fix="leave it out")
    if len(file.errors) < (least := least_rows(level)):
        needed = counted(least, "validation row")
        what = f"an interval of {100 * level:g}% needs the errors of {needed}, and the run has {len(file.errors):,}"
        fix = "a lower share, or training with more validation rows (data.validation_fraction)"
        raise UserError(what, where="interval", fix=fix)
