"""The loop over steps; yields events; knows no terminal and no file."""

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
from finewright.data.packing import EncodedSplit, Update
from finewright.models.prepared import PreparedModel
from finewright.tasks.base import Task
from finewright.training.optimizer import OptimizerName, Schedule, build_optimizer, init_state, learning_rate_at
from finewright.training.state import Best, TrainState, preserving_random_state
from finewright.training.step import UpdateAttempt

WATCHED_STEPS = 3
"""Updates within which every trained tensor must have got a gradient that is not zero throughout."""

FIRST_LOSS_SLACK = 0.3
"""How far the first loss may lie from ln(classes), as a share of it."""


@dataclass(frozen=True)
class TrainingSchedule:
    """How to train: everything the loop needs besides the model and the data."""

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

    @property
    def num_evaluations(self) -> int:
        """How often validation is scored when nothing stops the run early."""
        return math.ceil(len(self.steps) / self.evaluate_every)

    def looks_after(self, step: int) -> bool:
        """Whether validation is looked at after so many updates."""
        return step > 0 and (step % self.evaluate_every == 0 or step == len(self.steps))

    def gives_up(self, state: TrainState) -> bool:
        """Whether validation has not improved for too long."""
        return 0 < self.early_stopping_patience <= state.progress.evaluations_without_improvement


def start_state(prepared_model: PreparedModel, schedule: TrainingSchedule) -> TrainState:
    """The state before the first update."""
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
    """Train in place. `evaluate` measures the validation split (None: there is none); `places` names rows in error messages.

    Ties in validation accuracy are broken by the lower loss. `state`: goes on from there; it is true whenever an event is
    handed out, so that whoever listens may save it. `watch`: what is opened around every update, by its number from 0.
    """
    state = state or start_state(prepared_model, schedule)
    progress = state.progress
    guard = _GradientGuard(state)
    num_steps = len(schedule.steps)
    if progress.step < num_steps:
        oom.run_or_raise(partial(init_state, state.optimizer), otherwise=_no_room_for_state(state))
    if evaluate and schedule.looks_after(progress.step) and progress.evaluated_step < progress.step:
        yield _look(state, evaluate, task=task, schedule=schedule)
    while progress.step < num_steps and not schedule.gives_up(state):
        index, step = progress.step, schedule.steps[progress.step]
        prepared_model.train()
        lr = learning_rate_at(
            index, num_steps=num_steps, peak=schedule.lr, warmup_ratio=schedule.warmup_ratio, lr_scheduler=schedule.lr_scheduler
        )
        update = UpdateAttempt(state, encoded, passes=step.batches, task=task, lr=lr, max_grad_norm=schedule.max_grad_norm)
        while (result := update.made(watch(index, state.optimizer))) is None:
            yield MicroBatchesSplit(index + 1, update.halve())
        if not result.applied:
            raise _non_finite(result, update, step=index + 1, lr=lr, peak=schedule.lr, places=places)
        if index == 0 and schedule.check_first_loss:
            _refuse_strange_start(result.loss, task=task)
        guard.look(index)
        progress.step += 1
        progress.num_tokens += result.num_tokens
        progress.num_rows += result.num_rows
        looks = evaluate is not None and schedule.looks_after(progress.step)
        yield StepCompleted(step=index + 1, num_steps=num_steps, epoch=step.epochs_done, lr=lr, result=result, looks=looks)
        if evaluate and looks:
            yield _look(state, evaluate, task=task, schedule=schedule)
    state.optimizer.zero_grad(set_to_none=True)  # nor while the test is scored, with or without validation
    yield TrainingStopped(step=progress.step, early=progress.step < num_steps)


def _no_room_for_state(state: TrainState) -> UserError:
    """What is kept beside every trained number does not fit, and no weight was changed yet."""
    numbers = sum(parameter.numel() for parameter in state.prepared_model.trainable().values())
    what = f"out of memory while making room for the optimizer's state of {numbers:,} trained numbers"
    fix = "--set training.optimizer=adamw8bit, a way that trains less (`finewright methods`), or a smaller model"
    return UserError(what, where=f"before step {state.progress.step + 1}", fix=fix, code=ExitCode.OUT_OF_MEMORY)


def _look(
    state: TrainState, evaluate: Callable[[], dict[str, Any]], *, task: Task, schedule: TrainingSchedule
) -> EvaluationCompleted:
    """Measure the validation split; the random numbers of training are left alone."""
    progress = state.progress
    state.prepared_model.trainable_module.eval()
    state.optimizer.zero_grad(set_to_none=True)  # nobody needs the gradients while validation is scored
    with preserving_random_state(state.device):
        metrics = evaluate()
    found = Best(progress.step, schedule.steps[progress.step - 1].epochs_done, metrics)
    improved = progress.best is None or task.is_better(metrics, progress.best.metrics)
    if improved:
        progress.best = found
    progress.evaluations_without_improvement = 0 if improved else progress.evaluations_without_improvement + 1
    progress.evaluated_step = progress.step
    return EvaluationCompleted(step=found.step, epoch=found.epoch, metrics=metrics, best=improved)


def _non_finite(
    result: StepResult, update: UpdateAttempt, *, step: int, lr: float, peak: float, places: Sequence[str]
) -> UserError:
    """Which rows are at fault: those that have no loss alone; where that is none of them or all, it is not the rows."""
    rows, alone = update.rows, update.at_fault()
    what = (
        f"step {step}: loss {result.loss}, gradient norm {result.grad_norm} at learning rate {lr:.2e}; the step was not applied; "
    )
    slower = f"`{RESUME} --change learning_rate={peak / 2:g}` goes on from the last checkpoint, more slowly"
    if 0 < len(alone) < len(rows):
        what += f"of its {len(rows)} rows these give no number even alone"
        fix = f"look at these rows: mend or remove them and begin a new run; or {slower}"
    elif alone:
        what += f"each of its {len(rows)} rows gives no number even alone, so the weights are at fault"
        fix = f"lower the learning rate: {slower}"
    else:
        what += f"none of its {len(rows)} rows does that alone"
        again = f"`{RESUME} --change learning_rate={peak / 2:g}` tries again from the last checkpoint, more slowly"
        fix = f"{again}; where that ends here too, look at these rows, or begin a new run at a lower learning rate"
    named = [places[row] for row in (alone or rows)]
    return UserError(what, where=", ".join(named[:50]), fix=fix, code=ExitCode.NON_FINITE)


def _refuse_strange_start(loss: float, *, task: Task) -> None:
    """Raise `UserError` if the first loss is not that of a fresh head: then labels and head are mixed up."""
    expected = task.expected_first_loss
    if expected is not None and abs(loss - expected) > FIRST_LOSS_SLACK * expected:
        raise UserError(
            f"the first loss is {loss:.4f}, a fresh head over {len(task.labels)} labels starts at {expected:.4f}",
            where="step 1",
            fix="labels and head do not belong together; please report this with the command",
            code=ExitCode.MISMATCH,
        )


class _GradientGuard:
    """Every trained tensor must be reached: connected at the first step, not all zero within a few."""

    def __init__(self, state: TrainState) -> None:
        self.progress = state.progress
        unreached = state.progress.unreached
        self.waiting = {name: p for name, p in state.prepared_model.trainable().items() if unreached is None or name in unreached}

    def look(self, index: int) -> None:
        """Raise `UserError` when a trained tensor gets no gradient."""
        if not self.waiting or index >= WATCHED_STEPS:
            return
        dead = [name for name, parameter in self.waiting.items() if parameter.grad is None]
        if not dead:
            self.waiting = {name: p for name, p in self.waiting.items() if p.grad is not None and not p.grad.any()}
            dead = list(self.waiting) if index == WATCHED_STEPS - 1 else []
        self.progress.unreached = list(self.waiting)
        if dead:
            raise UserError(
                f"{len(dead)} trained tensors get no gradient, for instance {dead[0]}",
                where=f"step {index + 1}",
                fix="they would stay as they are; choose a target that the text's tokens pass through",
                code=ExitCode.MISMATCH,
            )
