"""Calibrate the confidences of a run on its validation rows, and keep how certain the model is of them.

Weights and scores stay as they are: `calibration.json` lies beside them, and only probabilities are computed with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finewright.core.events import Level
from finewright.core.units import counted
from finewright.inference.abstention import CoverageCurve, CoveragePoint, build_curve
from finewright.runs import schema
from finewright.runs.schema import CalibrationFile, CalibrationRecord, CoverageRecord
from finewright.tasks.base import Task
from finewright.tasks.evaluation import Evaluation

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_FILE = "calibration.json"
MOST_SCORES, LEAST_ROWS_OF_MANY_LABELS = 20_000_000, 1000
"""Scores of validation rows that are calibrated on at most, and rows that are in any case: of thousands of labels the scores of
all rows, several times as float64, would take more memory than the training."""
_CARD_NOTE = """
Confidences of `finewright predict` are calibrated: it divides the scores by {temperature:g}, the temperature in `{name}`, before
the softmax. Other programs give uncalibrated probabilities; `(scores / {temperature:g}).softmax(dim=-1)` gives the same ones. The
predicted label is the same with both.
"""


@dataclass(frozen=True)
class Calibration:
    """`task`: with the temperature that was found. `file`: None without confidences or validation rows. `metrics`: of the
    validation rows with this temperature, None if none was fitted. `note`: for the user, of this `level`."""

    task: Task
    file: CalibrationFile | None = None
    metrics: dict[str, Any] | None = None
    note: str = ""
    level: Level = "detail"

    def record(self, test: Evaluation | None) -> CalibrationRecord | None:
        """Return what result.json holds of it; None if no temperature was fitted. `test`: the evaluated test rows."""
        if self.file is None or not self.file.is_fitted:
            return None
        found = CalibrationRecord(temperature=self.file.temperature, rows=self.file.num_rows)
        if test is None:
            return found
        before, after = test.calibration_error(calibrated=False), test.calibration_error()
        return found.model_copy(update={"ece_before": before, "ece_after": after, "on": "test"})


def describe_confidences(task: Task, evaluation: Evaluation, *, is_fitted: bool = False) -> CalibrationFile | None:
    """Return what is kept of the evaluated validation rows; None if predictions have no confidence."""
    found = evaluation.row_confidences()
    curve = None if found is None else build_curve(*found)
    if curve is None:
        return None
    coverage = [CoverageRecord(**point._asdict()) for point in curve.points]
    return CalibrationFile(temperature=task.temperature, is_fitted=is_fitted, num_rows=curve.num_rows, coverage=coverage)


def choose_rows(num_rows: int, *, num_labels: int) -> list[int]:
    """Return the validation rows to calibrate on: all, or of very many labels some of them, evenly."""
    most = max(LEAST_ROWS_OF_MANY_LABELS, MOST_SCORES // max(1, num_labels))
    return list(range(0, num_rows, -(-num_rows // most) or 1))


def calibrate(task: Task, outputs: "np.ndarray", targets: Sequence[int], *, wanted: Literal["auto", "on", "off"]) -> Calibration:
    """Return the calibration for these outputs of the validation rows. `wanted`: `auto` fits where there are enough rows."""
    num_rows, note = len(targets), ""
    is_fitted = wanted == "on" or (wanted == "auto" and num_rows >= task.least_calibration_rows)
    if is_fitted:
        task = task.with_temperature(task.fit_temperature(outputs, targets))
    evaluation = task.start_evaluation(targets)
    evaluation.update(range(num_rows), outputs)
    file = describe_confidences(task, evaluation, is_fitted=is_fitted)
    if is_fitted:
        note = f"confidences calibrated: temperature {task.temperature:.3g} from {counted(num_rows, 'validation row')}"
    elif wanted == "auto":
        few = counted(num_rows, "validation row is", "validation rows are")
        note = (
            f"confidences are not calibrated: {few} too few, {task.least_calibration_rows} are needed "
            "(--set training.calibrate=on does it with fewer)"
        )
    return Calibration(task, file, evaluation.metrics() if is_fitted else None, note)


def skip_calibration(task: Task, *, wanted: Literal["auto", "on", "off"]) -> Calibration:
    """Return the calibration of a run without validation rows, or of a task without confidences: none."""
    if wanted != "on":
        return Calibration(task)
    reason = "there are no validation rows" if task.has_confidences else f"{task.name} has none"
    return Calibration(task, note=f"confidences are not calibrated: {reason}", level="warning")


def describe_temperature(file: CalibrationFile | None) -> str:
    """Return what a model card says of the temperature; empty if none was fitted."""
    return _CARD_NOTE.format(temperature=file.temperature, name=CALIBRATION_FILE) if file and file.is_fitted else ""


def read_calibration(model_folder: Path) -> CalibrationFile | None:
    """Return the calibration of a saved model; None if it has none. Raise `UserError` if the file is damaged."""
    path = model_folder / CALIBRATION_FILE
    return schema.read(CalibrationFile, path) if path.exists() else None


def to_curve(file: CalibrationFile | None) -> CoverageCurve | None:
    """Return how certain the model is of its validation rows; None if that was not kept."""
    if file is None:
        return None
    return CoverageCurve(tuple(CoveragePoint(one.threshold, one.num_rows, one.num_right) for one in file.coverage))
