"""Try methods on held-out parts of small data, so that nobody has to know which method suits so few rows.

The training rows are split in two parts; a method is trained on one and scored on the other, and of few rows the other way round
too, unless the first part is enough to tell. These rows together give the task's metric for each method, on the same rows. The
method that suits few rows comes first. Its head starts from the frozen features, so its trial shows what these reach too: if it
keeps up with them, nothing else is tried.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from finewright.core.config import RunConfig
from finewright.core.errors import UserError
from finewright.core.units import counted, format_seconds
from finewright.data.dataset import Dataset
from finewright.data.multi_label_splits import find_rarest_labels
from finewright.data.splits import split_into_folds
from finewright.inference import scoring
from finewright.methods.base import Method
from finewright.models.meta import BaseNetwork
from finewright.models.prepared import PreparedModel
from finewright.planning.defaults import PAIR_STEPS
from finewright.planning.method_plan import MethodPlan
from finewright.tasks.base import Task
from finewright.tasks.evaluation import Evaluation
from finewright.tasks.head_weights import HeadNotFitted
from finewright.tasks.measures import Metric
from finewright.training import head_start, loop

MOST_SECONDS = 180.0
"""Planned seconds of the trials of a method beyond which it is not tried."""
NUM_PARTS = 2
ENOUGH_ROWS = 100
"""Rows that are scored by one trial alone: of more, the second one would cost as much again and change few choices."""


@dataclass(frozen=True)
class Trial:
    """What a method reached on rows that it was not trained on.

    `loss`: mean of the rows', None if the task has none. `right`: whether each row was, or its negative loss where no row is
    right or wrong, shape (N,); None if the task has neither. `frozen`: the trial of the head alone on the same rows, before
    the method changed anything below it; None if that was not measured.
    """

    method: Method
    value: float
    loss: float | None
    seconds: float
    right: np.ndarray | None = field(default=None, compare=False)
    frozen: "Trial | None" = None

    def describe(self, metric: Metric) -> str:
        """Return name, metric and seconds in words."""
        options = ", ".join(f"{name}={value}" for name, value in (self.method.trial_options or {}).items())
        before = f" (frozen features {metric.format(self.frozen.value)})" if self.frozen else ""
        return f"{self.method.name()}{f' ({options})' if options else ''} {metric.format(self.value)}{before}"

    @property
    def is_enough(self) -> bool:
        """Whether no other method need be tried: this one suits few rows, and is not behind the frozen features."""
        return self.method.suits_few_rows and self.frozen is not None and _is_close(self, self.frozen)


Load = Callable[[MethodPlan, Dataset], tuple[PreparedModel, BaseNetwork]]
"""From the plan of a trial and its rows, the model ready for the first update, and the network that it was made of."""


def split_rows(dataset: Dataset, task: Task) -> list[tuple[list[int], list[int]]]:
    """Return (rows to train on, rows to score) of each trial: one if it scores enough rows, else two. Every label that has two
    rows is in both parts.

    The only row of a label is trained on in every trial and never scored, as the run itself has it.
    """
    targets = _strata(task.targets(dataset.train))
    part = split_into_folds(targets, NUM_PARTS)
    if targets.dtype.kind == "i":
        part[np.bincount(targets)[targets] < NUM_PARTS] = NUM_PARTS
    parts = [(np.flatnonzero(part != number).tolist(), np.flatnonzero(part == number).tolist()) for number in range(NUM_PARTS)]
    return parts[:1] if len(parts[0][1]) >= ENOUGH_ROWS else parts


def _strata(targets: Sequence[Any]) -> np.ndarray:
    """Return the class of each row, shape (N,); of a row with several labels the rarest of them."""
    found_N = np.array(targets)
    return found_N if found_N.ndim == 1 else find_rarest_labels(found_N)


def shorten(settings: RunConfig, method: Method) -> RunConfig:
    """Return the settings of a trial: on pairs of texts half of the fewest updates of a run, as it has half of the rows."""
    given = settings.training
    if method.objective != "pairs" or given.epochs is not None or given.max_steps:
        return settings
    return settings.model_copy(update={"training": given.model_copy(update={"max_steps": PAIR_STEPS // NUM_PARTS})})


def try_method(
    method: Method, dataset: Dataset, task: Task, *, plan_one: Callable[[Method, Dataset], MethodPlan], load: Load
) -> Trial:
    """Train a method on parts of the training rows and score it on the others.

    One that suits few rows and is not behind the frozen features on the first part is enough: the second is not made. Raise
    `UserError` if the trial would take too long or does not fit.
    """
    began, parts, done = time.monotonic(), split_rows(dataset, task), []
    for chosen, left_out in parts:
        rows = dataset.train
        part = replace(dataset, train=[rows[row] for row in chosen], validation=[], test=[rows[row] for row in left_out])
        planned = plan_one(method, part)
        if not done:
            _check_cost(method, planned, num_parts=1 if method.suits_few_rows else len(parts))
        model, base = load(planned, part)
        frozen = None
        if _start_head(model, task, planned, base=base) and method.suits_few_rows:
            frozen = scoring.score_split(model, planned.splits["test"])
        done.append(_ScoredPart(left_out, _train_and_score(model, task, planned), frozen))
        trial = _summarise(method, done, task, dataset)
        if trial.is_enough and not (trial.frozen and _is_better(trial.frozen, trial, task.metric)):
            break
    return replace(trial, seconds=time.monotonic() - began)


def _check_cost(method: Method, planned: MethodPlan, *, num_parts: int) -> None:
    """Raise `UserError` if a trial does not fit or takes too long."""
    if not planned.training_plan.fits:
        raise UserError("its trial does not fit", where="method", fix=f"--method {method.name()} says what would fit")
    seconds = planned.training_plan.plan.seconds * num_parts
    if seconds > MOST_SECONDS:
        what = f"its trial would take about {format_seconds(seconds)}, and {format_seconds(MOST_SECONDS)} is the most"
        raise UserError(what, where="method", fix=f"--method {method.name()}")


@dataclass(frozen=True)
class _ScoredPart:
    """The outputs for rows that were left out, shape (N, C): after training, and with the head alone, None if not measured."""

    rows: list[int]
    after: np.ndarray
    frozen: np.ndarray | None


def _summarise(method: Method, parts: Sequence[_ScoredPart], task: Task, dataset: Dataset) -> Trial:
    """Return the trial that parts come to, without its seconds."""
    targets = task.targets(dataset.train)
    rows = sorted(row for part in parts for row in part.rows)
    places = {row: place for place, row in enumerate(rows)}

    def evaluate(outputs: Sequence[np.ndarray]) -> Trial:
        evaluation = task.start_evaluation([targets[row] for row in rows])
        for part, output in zip(parts, outputs, strict=True):
            evaluation.update([places[row] for row in part.rows], output)
        return _as_trial(method, evaluation, task, seconds=0.0)

    frozen = [part.frozen for part in parts if part.frozen is not None]
    after = evaluate([part.after for part in parts])
    return replace(after, frozen=evaluate(frozen)) if len(frozen) == len(parts) else after


def _as_trial(method: Method, evaluation: Evaluation, task: Task, *, seconds: float) -> Trial:
    losses, sure_and_right = evaluation.row_losses(), evaluation.row_confidences()
    loss, right = None if losses is None else float(losses.mean()), None if sure_and_right is None else sure_and_right[1]
    if right is None and losses is not None:
        right = -losses
    return Trial(method, float(evaluation.metrics()[task.metric.name]), loss, seconds, right)


def _start_head(model: PreparedModel, task: Task, planned: MethodPlan, *, base: BaseNetwork) -> bool:
    """Fit a new head to the frozen features, as the run does; return whether it was fitted."""
    if planned.training_plan.head_start != "probe" or base.reuses_head:
        return False
    with suppress(HeadNotFitted):
        head_start.start_from_probe(model, task, new=base.new, train=planned.splits["train"])
        return True
    return False


def _train_and_score(model: PreparedModel, task: Task, planned: MethodPlan) -> np.ndarray:
    """Train for all planned updates and return the outputs for the rows that were left out, shape (N, C)."""
    splits = dict(planned.splits)
    schedule = replace(planned.training_plan.schedule, check_first_loss=False, evaluates_start=False)
    planned.training_plan.optimizations.fill(model, splits, ("train",))
    places = [""] * len(splits["train"].ids)
    for _ in loop.train(model, splits["train"], task=task, schedule=schedule, evaluate=None, places=places):
        pass
    if model.runtime.objective == "pairs":
        with suppress(HeadNotFitted):
            head_start.start_from_probe(model, task, new=(), train=splits["train"], softened=False)
    return scoring.score_split(model, splits["test"])


def decide(
    trials: Sequence[Trial], candidates: Sequence[Method], *, metric: Metric, num_rows: int
) -> tuple[tuple[Method, ...], str]:
    """Return the candidates with the best one of the trials first, and the reason; without trials as they were."""
    if not trials:
        return tuple(candidates), ""
    best = choose_best(trials, metric=metric)
    others = [method for method in candidates if method.name() != best.method.name()]
    return (best.method, *others), describe(trials, best, metric=metric, num_rows=num_rows)


def describe(trials: Sequence[Trial], best: Trial, *, metric: Metric, num_rows: int) -> str:
    """Return what was tried and what was chosen, in words."""
    ranked = sorted(trials, key=lambda trial: trial.value, reverse=metric.higher_is_better)
    found = ", ".join(trial.describe(metric) for trial in ranked)
    seconds = sum(trial.seconds for trial in trials)
    why = f"{best.method.name()} was best"
    if len(trials) == 1:
        why = f"{best.method.name()} was {'no worse than the frozen features' if best.is_enough else 'the only method tried'}"
    if any(_is_better(trial, best, metric) for trial in trials):
        why = f"{best.method.name()} was as good as the best within one standard error, and suits few rows"
    tie = "; of equal ones the lowest loss decides" if sum(trial.value == best.value for trial in trials) > 1 else ""
    scored = "rows" if best.right is None else counted(len(best.right), "row")
    return f"{why} on {scored} held out of the {counted(num_rows, 'training row')}: {found}{tie} ({seconds:.0f} s)"


def choose_best(trials: Sequence[Trial], *, metric: Metric) -> Trial:
    """Return the method to train: of those within one standard error of the best metric, the one that suits few rows best.

    Between those that suit alike the metric decides, then the lower loss, then the order of preference.
    """
    sign = 1 if metric.higher_is_better else -1
    top = max(trials, key=lambda trial: (sign * trial.value, -(trial.loss or 0.0)))
    return max(
        (trial for trial in trials if trial is top or _is_close(trial, top)),
        key=lambda trial: (trial.method.suits_few_rows, sign * trial.value, -(trial.loss or 0.0)),
    )


def _is_better(one: Trial, other: Trial, metric: Metric) -> bool:
    return one.value > other.value if metric.higher_is_better else one.value < other.value


def _is_close(trial: Trial, top: Trial) -> bool:
    """Whether a trial is no more than a row behind the best one, or one standard error of the paired difference."""
    if trial.right is None or top.right is None:
        return trial.value == top.value
    behind_N = top.right.astype(float) - trial.right
    return bool(behind_N.sum() <= max(1.0, behind_N.std() * len(behind_N) ** 0.5))
