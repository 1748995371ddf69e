"""Compare an exported model with the run it came from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from finewright import tasks
from finewright.core import config as core_config
from finewright.core import hardware
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data.splits import Example
from finewright.inference.predictor import Predictor
from finewright.runs import reading
from finewright.runs.folder import RunFolder
from finewright.runs.schema import PredictionLine, RunConfigFile, RunResult
from finewright.runs.thresholds import with_saved_thresholds
from finewright.tasks.base import Task
from finewright.tasks.measures import Metric

BaseKind = Literal["dequantised", "published"]
LOSS = Metric("loss", higher_is_better=False)
"""What is measured of language models: without the untrained model there are no rewards, and answers are not generated again."""
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

    `targets`: of the texts that are scored, as `Task.start_evaluation` takes them. `exact_scores`: in float32, which a merged
    model must reproduce. `loading`: arguments of `Predictor.load`.
    """

    run: RunFolder
    examples: Sequence[Example]
    task: Task
    targets: Sequence[Any]
    scores: np.ndarray
    exact_scores: np.ndarray
    loading: dict[str, Any]

    @property
    def metric(self) -> Metric:
        """The metric of both models: the task's, of language models the loss."""
        return LOSS if self.task.is_language_model() else self.task.metric

    def metric_before(self) -> float:
        """Return the metric of the run's own scores."""
        return self._measure(self.scores)

    def compare(self, folder: Path, *, base: BaseKind, exact: bool) -> MergeChange:
        """Measure the change. Raise `UserError` if an `exact` merge does not reproduce the run's scores."""
        scores = _load(folder, self.task, bfloat16=False, loading=self.loading).score(self.task.probes(self.examples))
        difference = self.task.compare_outputs(self.exact_scores, scores)
        bound = EXACT * max(1.0, difference.scale)
        if exact and not difference.largest <= bound:
            what = f"scores of the merged model differ by {difference.largest:.2e} from the adapter's (allowed: {bound:.0e})"
            fix = "please report this with the command"
            raise UserError(what, where=str(self.run.model), fix=fix, code=ExitCode.MISMATCH)
        change = self.task.compare_outputs(self.scores, scores)
        return MergeChange(base, change.largest, change.num_changed, self._measure(scores))

    def _measure(self, scores: np.ndarray) -> float:
        evaluation = self.task.start_evaluation(self.targets)
        evaluation.update(range(len(scores)), scores)
        return float(evaluation.metrics()[self.metric.name])


def start_check(
    run: RunFolder, lines: Sequence[PredictionLine], *, config: RunConfigFile, result: RunResult, quantised: bool
) -> ExportCheck:
    """Score the run's test rows (`lines`), on the device that it was trained on if this machine has it.

    The messages of a language model's test rows are read from the run's data again. Where these are gone or have changed, rows
    are made of what the lines hold: both models answer the same rows in either case.
    """
    loading: dict[str, Any] = {"limit": config.max_length, "keep_end": config.settings["data"]["truncation_side"] == "left"}
    trained_on = result.hardware.get("device")
    loading["device"] = trained_on if trained_on == hardware.detect().device else "cpu"
    loading["task"] = config.task or tasks.DEFAULT
    kind = tasks.get_task(loading["task"])
    exact = _load(run.model, None, bfloat16=False, loading=loading, config=config)
    exact = replace(exact, task=with_saved_thresholds(exact.task, run.model))
    examples = _find_test_rows(config) if kind.is_language_model() else []
    examples = examples or [row for line in lines if (row := kind.example_from_line(line.model_dump())) is not None]
    if kind.is_language_model():
        examples = exact.usable_rows(examples)
        if not examples:
            what, fix = "no test row can be scored to measure the merge on", "train with a test split"
            raise UserError(what, where=str(run.path), fix=fix)
    probes = exact.task.probes(examples)
    exact_scores = scores = exact.score(probes)
    if quantised and config.bfloat16:  # four-bit products were trained in the run's own precision
        scores = _load(run.model, exact.task, bfloat16=True, loading=loading).score(probes)
    return ExportCheck(run, examples, exact.task, exact.encode_targets(examples), scores, exact_scores, loading)


def _load(
    folder: Path, task: Task | None, *, bfloat16: bool, loading: dict[str, Any], config: RunConfigFile | None = None
) -> Predictor:
    """Return a model with this task; without one, with its own, which reads rows of a language model as the run did."""
    found = Predictor.load(folder, bfloat16=bfloat16, **loading)
    if task is not None:
        return replace(found, task=task)
    if config is None or not found.task.is_language_model():
        return found
    options: dict[str, Any] = {"data": core_config.build_options(DataConfig, config.settings.get("data", {}), prefix="data")}
    return replace(found, task=replace(found.task, **options))


def _find_test_rows(config: RunConfigFile) -> list[Example]:
    """Return the test rows of the run's data; none if the data is gone or has changed."""
    data = reading.read_data_again(config)
    return [] if data is None else list(data.test)
