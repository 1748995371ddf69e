"""Compare an exported model with the run it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from finewright import tasks
from finewright.core import hardware
from finewright.core.errors import ExitCode, UserError
from finewright.data.splits import Example
from finewright.inference.predictor import Predictor
from finewright.runs.folder import RunFolder
from finewright.runs.schema import PredictionLine, RunConfigFile, RunResult
from finewright.tasks.base import Task

BaseKind = Literal["dequantised", "published"]
EXACT = 1e-3
"""Largest difference of a float32 score that rounding explains, relative to the largest score."""


@dataclass(frozen=True)
class MergeChange:
    """The change by merging, on the run's test rows.

    `largest_difference`: of an output. `changed`: rows with another prediction, None where predictions are not choices.
    `metric_after`: the task's metric of the merged model.
    """

    base: BaseKind
    largest_difference: float
    changed: int | None
    metric_after: float


@dataclass(frozen=True)
class ExportCheck:
    """A run's test rows and its scores for them.

    `exact_scores`: in float32, which a merged model must reproduce. `reading`: arguments of `Predictor.load`.
    """

    run: RunFolder
    examples: Sequence[Example]
    task: Task
    scores: np.ndarray
    exact_scores: np.ndarray
    reading: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """The texts of the test rows."""
        return [example.text for example in self.examples]

    def metric_before(self) -> float:
        """Return the task's metric of the run's own scores."""
        return self.task.measure(self.examples, self.scores)

    def compare(self, folder: Path, *, base: BaseKind, exact: bool) -> MergeChange:
        """Measure the change. Raise `UserError` if an `exact` merge does not reproduce the run's scores."""
        scores = Predictor.load(folder, bfloat16=False, **self.reading).score(self.texts)
        difference = self.task.compare_outputs(self.exact_scores, scores)
        bound = EXACT * max(1.0, difference.scale)
        if exact and not difference.largest <= bound:
            what = f"scores of the merged model differ by {difference.largest:.2e} from the adapter's (allowed: {bound:.0e})"
            fix = "please report this with the command"
            raise UserError(what, where=str(self.run.model), fix=fix, code=ExitCode.MISMATCH)
        change = self.task.compare_outputs(self.scores, scores)
        return MergeChange(base, change.largest, change.num_changed, self.task.measure(self.examples, scores))


def start_check(
    run: RunFolder, lines: Sequence[PredictionLine], *, config: RunConfigFile, result: RunResult, quantised: bool
) -> ExportCheck:
    """Score the run's test rows (`lines`), on the device that it was trained on if this machine has it."""
    examples = [Example(line.text, line.label, line.where) for line in lines]
    reading: dict[str, Any] = {"limit": config.max_length, "keep_end": config.settings["data"]["truncation_side"] == "left"}
    trained_on = result.hardware.get("device")
    reading["device"] = trained_on if trained_on == hardware.detect().device else "cpu"
    reading["task"] = config.task or tasks.DEFAULT
    exact = Predictor.load(run.model, bfloat16=False, **reading)
    exact_scores = scores = exact.score([example.text for example in examples])
    if quantised and config.bfloat16:  # four-bit products were trained in the run's own precision
        scores = Predictor.load(run.model, bfloat16=True, **reading).score([example.text for example in examples])
    return ExportCheck(run, examples, exact.task, scores, exact_scores, reading)
