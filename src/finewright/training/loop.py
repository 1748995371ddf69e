"""The training loop. It yields events and neither prints nor writes files."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from finewright.core import oom
from finewright.core.errors import RESUME, ExitCode, UserError
from finewright.core.events import EvaluationCompleted, Event, MicroBatchesSplit, StepCompleted, StepResult, TrainingStopped
from finewright.core.units import counted
from finewright.data.packing import EncodedSplit, Update
from finewright.models.prepared import PreparedModel
from finewright.tasks.base import Task
from finewright.training.optimizer import OptimizerName, Schedule, build_optimizer, init_state, learning_rate_at
from finewright.training.state import EvaluatedStep, Progress, TrainState, preserving_random_state
from finewright.training.step import UpdateAttempt

WATCHED_STEPS = 3
"""Number of updates within which every trained tensor must get a gradient that is not all zero."""

FIRST_LOSS_SLACK = 0.3
"""Largest allowed deviation of the first loss from the expected one, as a share of the expected one."""
REFERENCE_SLACK = 0.02
"""The same of a model that is compared with itself, in float32: only rounding may differ."""
MOST_DEVIATIONS = 6.0
"""With a fitted head the first loss may also be so many standard errors of its rows above it: they may be the hardest ones."""


@dataclass(frozen=True)
class TrainingSchedule:
    """Everything that the loop needs besides the model and the data.

    `evaluates_start`: the validation split is evaluated before the first update too, as the head is a fitted or a trained one.
    `start_loss_spread`: of a fitted head, the standard deviation of the training rows' losses; None: the head is new.
    """

    steps: Sequence[Update]
    lr: float
    warmup_ratio: float
    lr_scheduler: Schedule
    weight_decay: float
    max_grad_norm: float
    evaluate_every: int
    early_stopping_patience: int
    optimizer: OptimizerName = "adamw"
    check_first_loss: bool = True
    evaluates_start: bool = False
    start_loss_spread: float | None = None

    @property
    def num_evaluations(self) -> int:
        """Number of validation evaluations in a run that does not stop early."""
        return math.ceil(len(self.steps) / self.evaluate_every) + self.evaluates_start

    def evaluates_after(self, step: int) -> bool:
        """Return whether the validation split is evaluated after update number `step`; 0: before the first one."""
        if step == 0:
            return self.evaluates_start
        return step % self.evaluate_every == 0 or step == len(self.steps)

    @property
    def may_stop_early(self) -> bool:
        """Whether early stopping can end the run before its last update: the first evaluation is always the best so far."""
        return 0 < self.early_stopping_patience < self.num_evaluations - 1

    def gives_up(self, state: TrainState) -> bool:
        """Return whether early stopping ends the run."""
        return 0 < self.early_stopping_patience <= state.progress.evaluations_without_improvement


def start_state(prepared_model: PreparedModel, schedule: TrainingSchedule) -> TrainState:
    """Return the state before the first update."""
    return TrainState(
        prepared_model,
        build_optimizer(prepared_model, lr=schedule.lr, weight_decay=schedule.weight_decay, kind=schedule.optimizer),
    )


def train(
    prepared_model: PreparedModel,
    encoded: EncodedSplit,
    *,
    task: Task,
    schedule: TrainingSchedule,
    evaluate: Callable[[], dict[str, Any]] | None,
    places: Sequence[str],
    state: TrainState | None = None,
    watch: Callable[[int, torch.optim.Optimizer], AbstractContextManager[Any]] = lambda index, optimizer: nullcontext(),
) -> Iterator[Event]:
    """Train in place and yield an event for every update and evaluation.

    `evaluate`: returns the metrics of the validation split; None if there is no such split.
    `places`: location of each row, for error messages.
    `state`: where to resume. It is consistent whenever an event is yielded, so callbacks may save it.
    `watch`: returns the context manager for an update, given its index from 0.
    """
    state = state or start_state(prepared_model, schedule)
    progress = state.progress
    guard = _GradientGuard(state)
    num_steps = len(schedule.steps)
    if progress.step < num_steps:
        oom.run_or_raise(partial(init_state, state.optimizer), otherwise=_optimizer_memory_error(state))
    if evaluate and schedule.evaluates_after(progress.step) and not progress.is_evaluated:
        yield _evaluate(state, evaluate, task=task, schedule=schedule)
    while progress.step < num_steps and not schedule.gives_up(state):
        index, step = progress.step, schedule.steps[progress.step]
        prepared_model.train()
        lr = learning_rate_at(
            index, num_steps=num_steps, peak=schedule.lr, warmup_ratio=schedule.warmup_ratio, lr_scheduler=schedule.lr_scheduler
        )
        update = UpdateAttempt(state, encoded, micro_batches=step.batches, task=task, lr=lr, max_grad_norm=schedule.max_grad_norm)
        while (result := update.made(watch(index, state.optimizer))) is None:
            yield MicroBatchesSplit(index + 1, update.split())
        if not result.applied:
            raise _non_finite_error(result, update, step=index + 1, lr=lr, peak=schedule.lr, places=places)
        if index == 0 and schedule.check_first_loss and prepared_model.runtime.objective == "task":
            _check_first_loss(result, task=task, spread=schedule.start_loss_spread)
        if index == 0 and task.needs_reference and prepared_model.prompt is None:
            expected = task.expected_loss_at_start(encoded, update.rows)
            _check_own_reference(result, expected, bfloat16=prepared_model.runtime.bfloat16)
        guard.check(index)
        progress.step += 1
        progress.num_tokens += result.num_tokens
        progress.num_rows += result.num_rows
        evaluates = evaluate is not None and schedule.evaluates_after(progress.step)
        yield StepCompleted(
            step=index + 1, num_steps=num_steps, epoch=step.epochs_done, lr=lr, result=result, evaluates=evaluates
        )
        if evaluate and evaluates:
            yield _evaluate(state, evaluate, task=task, schedule=schedule)
    state.optimizer.zero_grad(set_to_none=True)  # the test split is scored next, without gradients
    yield TrainingStopped(step=progress.step, early=progress.step < num_steps)


def choose_kept(progress: Progress, task: Task) -> EvaluatedStep | None:
    """Return the evaluation whose weights a finished training keeps; None if there was no evaluation.

    These are the last weights, unless the best evaluation is better by more than one standard error: of few rows the highest of
    many values is mostly chance, and the last weights have learnt most, at learning rates that fall to 0. Of a model that was
    evaluated before the first update the best are kept, itself among them, unless the last weights are better than it was.
    """
    best, last, start = progress.best, progress.last, progress.start_metrics
    if best is None or last is None or last.step != progress.step:
        return best
    no_gain = start is not None and last.step > 0 and not task.is_better(last.metrics, start)
    return best if no_gain or task.is_clearly_worse(last.metrics, best.metrics) else last


def _optimizer_memory_error(state: TrainState) -> UserError:
    """Return the error for an optimizer state that does not fit into memory. No weight has changed yet."""
    num_parameters = sum(parameter.numel() for parameter in state.prepared_model.trainable().values())
    what = f"out of memory while allocating the optimizer's state for {num_parameters:,} trained parameters"
    fix = "--set training.optimizer=adamw8bit, a method that trains fewer parameters (`finewright methods`), or a smaller model"
    return UserError(what, where=f"before step {state.progress.step + 1}", fix=fix, code=ExitCode.OUT_OF_MEMORY)


def _evaluate(
    state: TrainState, evaluate: Callable[[], dict[str, Any]], *, task: Task, schedule: TrainingSchedule
) -> EvaluationCompleted:
    """Evaluate the validation split without changing the state of the random number generators."""
    progress = state.progress
    state.prepared_model.trainable_module.eval()
    state.optimizer.zero_grad(set_to_none=True)  # frees memory for the evaluation
    with preserving_random_state(state.device):
        metrics = evaluate()
    epochs_done = schedule.steps[progress.step - 1].epochs_done if progress.step else 0.0
    current = EvaluatedStep(progress.step, epochs_done, metrics)
    if not progress.step:
        progress.start_metrics = metrics
    improved = progress.best is None or task.is_better(metrics, progress.best.metrics)
    gains_nothing = progress.best is not None and (
        task.is_clearly_worse(metrics, progress.best.metrics) or task.is_same(metrics, progress.best.metrics)
    )
    progress.evaluations_without_improvement = progress.evaluations_without_improvement + 1 if gains_nothing else 0
    progress.best, progress.last = current if improved else progress.best, current
    progress.evaluated_step = progress.step
    name = task.metric.name
    return EvaluationCompleted(
        step=current.step,
        epoch=current.epoch,
        metrics=metrics,
        best=improved,
        metric=name,
        shown=task.metric.format(metrics[name]),
    )


def _non_finite_error(
    result: StepResult, update: UpdateAttempt, *, step: int, lr: float, peak: float, places: Sequence[str]
) -> UserError:
    """Return the error for a non-finite step. It names the rows whose loss is not finite even alone.

    If that is no row or every row, the rows are not the cause.
    """
    rows, bad_rows = update.rows, update.at_fault()
    what = (
        f"step {step}: loss {result.loss}, gradient norm {result.grad_norm} at learning rate {lr:.2e}; the step was not applied; "
    )
    resume = f"`{RESUME} --change learning_rate={peak / 2:g}`"
    slower = f"{resume} continues from the last checkpoint at half the learning rate"
    if 0 < len(bad_rows) < len(rows):
        what += f"of its {len(rows)} rows these have a non-finite loss even alone"
        fix = f"check these rows: correct or remove them and start a new run; or {slower}"
    elif bad_rows:
        what += f"each of its {len(rows)} rows has a non-finite loss even alone, so the weights are the cause"
        fix = f"lower the learning rate: {slower}"
    else:
        what += f"none of its {len(rows)} rows has a non-finite loss alone"
        fix = f"{resume} tries again from the last checkpoint at half the learning rate; if that fails here too, check these "
        fix += "rows, or start a new run at a lower learning rate"
    named = [places[row] for row in (bad_rows or rows)]
    return UserError(what, where=", ".join(named[:50]), fix=fix, code=ExitCode.NON_FINITE)


def _check_first_loss(result: StepResult, *, task: Task, spread: float | None) -> None:
    """Raise `UserError` if the first loss is not that of the head's start: then labels and head do not match.

    A new head guesses. A fitted one is at least as good, but few rows may have a larger loss: `spread` is the standard deviation
    of the rows' losses.
    """
    expected = task.expected_first_loss
    if expected is None:
        return
    slack = FIRST_LOSS_SLACK * expected
    if spread is None and abs(result.loss - expected) > slack:
        start = f"a fresh head over {len(task.labels)} labels starts at {expected:.4f}"
    elif spread is not None and result.loss > expected + slack + MOST_DEVIATIONS * spread / math.sqrt(result.num_rows):
        start = f"that of guessing among {len(task.labels)} labels is {expected:.4f}, and the head was fitted to be better"
    else:
        return
    raise UserError(
        f"the first loss is {result.loss:.4f}, {start}",
        where="step 1",
        fix="labels and head do not match; please report this with the command",
        code=ExitCode.MISMATCH,
    )


def _check_own_reference(result: StepResult, expected: float | None, *, bfloat16: bool) -> None:
    """Raise `UserError` if the first loss is not that of a model which still is its own reference."""
    if expected is None:
        return
    slack = (FIRST_LOSS_SLACK if bfloat16 else REFERENCE_SLACK) * abs(expected)
    if not abs(result.loss - expected) <= slack:
        raise UserError(
            f"the first loss is {result.loss:.4f}, that of a model which is its own reference is {expected:.4f}",
            where="step 1",
            fix="model and reference do not match; please report this with the command",
            code=ExitCode.MISMATCH,
        )


def _reached_parameters(prepared_model: PreparedModel) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the trained parameters that the objective reaches: a contrastive one does without the head, which is fitted."""
    heads = {id(p) for name in prepared_model.architecture.head for p in prepared_model.network.get_submodule(name).parameters()}
    fitted = heads if prepared_model.runtime.objective == "pairs" else set()
    return [(name, parameter) for name, parameter in prepared_model.trainable().items() if id(parameter) not in fitted]


class _GradientGuard:
    """Check that every trained tensor gets a gradient at the first step, and one that is not all zero within `WATCHED_STEPS`."""

    def __init__(self, state: TrainState) -> None:
        self.progress = state.progress
        unreached = state.progress.unreached
        self.unreached = {
            name: p for name, p in _reached_parameters(state.prepared_model) if unreached is None or name in unreached
        }

    def check(self, index: int) -> None:
        """Raise `UserError` if a trained tensor gets no gradient."""
        if not self.unreached or index >= WATCHED_STEPS:
            return
        missing = [name for name, parameter in self.unreached.items() if parameter.grad is None]
        if not missing:
            self.unreached = {name: p for name, p in self.unreached.items() if p.grad is not None and not p.grad.any()}
            missing = list(self.unreached) if index == WATCHED_STEPS - 1 else []
        self.progress.unreached = list(self.unreached)
        if missing:
            raise UserError(
                f"{counted(len(missing), 'trained tensor gets', 'trained tensors get')} no gradient, for instance {missing[0]}",
                where=f"step {index + 1}",
                fix="they would never change; choose a target module that the tokens of a text go through",
                code=ExitCode.MISMATCH,
            )
