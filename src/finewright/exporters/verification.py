"""Compare an exported model with the run it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from finewright.core import hardware
from finewright.core.errors import ExitCode, UserError
from finewright.inference.predictor import Predictor
from finewright.runs.folder import RunFolder
from finewright.runs.schema import PredictionLine, RunConfigFile, RunResult
from finewright.tasks import text_classification

BaseKind = Literal["dequantised", "published"]
EXACT = 1e-3
"""Largest difference of a float32 score that rounding explains, relative to the largest score."""


@dataclass(frozen=True)
class MergeChange:
    """The change by merging, on the run's test rows. `largest_difference`: of a score. `changed`: rows with another label."""

    base: BaseKind
    largest_difference: float
    changed: int
    accuracy_after: float


@dataclass(frozen=True)
class ExportCheck:
    """A run's test rows and its scores for them.

    `exact_scores`: in float32, which a merged model must reproduce. `reading`: arguments of `Predictor.load`.
    """

    run: RunFolder
    texts: Sequence[str]
    targets: Sequence[str]
    labels: tuple[str, ...]
    scores: np.ndarray
    exact_scores: np.ndarray
    reading: dict[str, Any]

    def accuracy(self, scores: np.ndarray) -> float:
        """Return the accuracy of scores."""
        chosen = text_classification.probabilities(scores).argmax(axis=1)
        return float(np.mean([self.labels[one] == target for one, target in zip(chosen, self.targets, strict=True)]))

    def compare(self, folder: Path, *, base: BaseKind, exact: bool) -> MergeChange:
        """Measure the change. Raise `UserError` if an `exact` merge does not reproduce the run's scores."""
        scores = Predictor.load(folder, bfloat16=False, **self.reading).score(self.texts)
        difference = float(np.abs(self.exact_scores - scores).max())
        bound = EXACT * max(1.0, float(np.abs(self.exact_scores).max()))
        if exact and not difference <= bound:
            what = f"scores of the merged model differ by {difference:.2e} from the adapter's (allowed: {bound:.0e})"
            fix = "please report this with the command"
            raise UserError(what, where=str(self.run.model), fix=fix, code=ExitCode.MISMATCH)
        before, after = (text_classification.probabilities(one).argmax(axis=1) for one in (self.scores, scores))
        largest = float(np.abs(self.scores - scores).max())
        return MergeChange(base, largest, int((before != after).sum()), self.accuracy(scores))


def start_check(
    run: RunFolder, lines: Sequence[PredictionLine], *, config: RunConfigFile, result: RunResult, quantised: bool
) -> ExportCheck:
    """Score the run's test rows (`lines`), on the device that it was trained on if this machine has it."""
    texts, targets = [line.text for line in lines], [line.label for line in lines]
    reading: dict[str, Any] = {"limit": config.max_length, "keep_end": config.settings["data"]["truncation_side"] == "left"}
    trained_on = result.hardware.get("device")
    reading["device"] = trained_on if trained_on == hardware.detect().device else "cpu"
    exact = Predictor.load(run.model, bfloat16=False, **reading)
    exact_scores = scores = exact.score(texts)
    if quantised and config.bfloat16:  # four-bit products were trained in the run's own precision
        scores = Predictor.load(run.model, bfloat16=True, **reading).score(texts)
    return ExportCheck(run, texts, targets, exact.labels, scores, exact_scores, reading)
