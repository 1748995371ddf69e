"""Test rows whose predictions are no classes: the score of each row in each run, and the rows that all members have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from finewright.comparison.schema import BaselineResult, SplitLine
from finewright.comparison.statistics import Predictions
from finewright.core.errors import ExitCode, UserError
from finewright.runs import schema
from finewright.runs.folder import RunFolder
from finewright.runs.schema import PredictionLine, RunResult
from finewright.tasks.base import Task
from finewright.tasks.measures import Metric


@dataclass(frozen=True)
class ScoredRows:
    """What one run has of the test rows. `scores`, `answers`: by the number of the row among the comparison's test rows.

    `metric`: what a score is.
    """

    metric: Metric
    scores: dict[int, float]
    answers: dict[int, str] = field(default_factory=dict)


def read_run(run: RunFolder, result: RunResult, *, task: type[Task], test: Sequence[SplitLine]) -> ScoredRows:
    """Return what a finished run has of the test rows. Raise `UserError` if it was measured on other ones."""
    lines = schema.read_lines(PredictionLine, run.predictions)
    measured = result.metrics.test
    metric = task.compared_metric({} if measured is None else measured.model_dump())
    numbers, read = [_row_number(line, run, test) for line in lines], [line.model_dump() for line in lines]
    scores: dict[int, list[float]] = {}
    for number, score in zip(numbers, task.row_scores(read), strict=True):
        if score is not None:  # a row may have several lines, one for each part that was scored
            scores.setdefault(number, []).append(score)
    return ScoredRows(
        metric,
        {number: sum(found) / len(found) for number, found in scores.items()},
        {number: said for number, said in zip(numbers, task.row_answers(read), strict=True) if said is not None},
    )


def _row_number(line: PredictionLine, run: RunFolder, test: Sequence[SplitLine]) -> int:
    """Return which test row a line is about: runs leave out rows that are too long for them, so that its place says nothing."""
    place = line.where.rpartition(":")[2]
    number = int(place) - 1 if place.isascii() and place.isdigit() else -1
    if not 0 <= number < len(test) or (test[number].whole_text, test[number].label) != (line.text, line.label):
        what = "this run was measured on other test rows than the comparison's"
        raise UserError(what, where=str(run.path), fix="remove it and compare again", code=ExitCode.MISMATCH)
    return number


def read_baseline(result: BaselineResult, *, task: type[Task]) -> ScoredRows:
    """Return what a baseline has of the test rows."""
    metric = task.compared_metric(result.metrics.model_dump())
    answers = dict(zip(result.rows, result.predicted, strict=False))
    return ScoredRows(metric, dict(zip(result.rows, result.scores, strict=True)), answers)


def common_rows(members: Sequence[ScoredRows]) -> list[int]:
    """Return the rows that all members have a score of, in order."""
    found = [set(member.scores) for member in members]
    return sorted(set.intersection(*found)) if found else []


def build_predictions(seeds: Sequence[ScoredRows], rows: Sequence[int], *, seeded: bool) -> Predictions:
    """Return the scores of these rows. `seeds`: one for each run of a method."""
    return Predictions.scored(np.array([[one.scores[row] for row in rows] for one in seeds]), seeded=seeded)


def keep_same_metric(members: Mapping[str, Sequence[ScoredRows]]) -> tuple[Metric | None, dict[str, str]]:
    """Return the metric of most runs, and why a member has other scores, by name.

    The metric follows from the reference answers: it can differ where a method answers other rows than the rest.
    """
    metrics = [one.metric for seeds in members.values() for one in seeds]
    if not metrics:
        return None, {}
    chosen = max(dict.fromkeys(metrics), key=metrics.count)
    other = {name: next((one.metric for one in seeds if one.metric != chosen), None) for name, seeds in members.items()}
    reasons = {
        name: f"its answers are measured by {metric.title}, those of the others by {chosen.title}"
        for name, metric in other.items()
        if metric is not None
    }
    return chosen, reasons
