"""The loop over steps; yields events; knows no terminal and no file."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from finewright import batches as packing
from finewright import optim
from finewright.batches import Encoded, Step
from finewright.errors import ExitCode, UserError
from finewright.step import StepResult, train_step
from finewright.tasks import Classification
from finewright.tuned import Tuned

WATCHED_STEPS = 3
"""Updates within which every trained tensor must have got a gradient that is not zero throughout."""


FIRST_LOSS_SLACK = 0.3
"""How far the first loss may lie from ln(classes), as a share of it."""


@dataclass(frozen=True)
class Stepped:
    """An update was made. `step` counts from 1."""

    step: int
    num_steps: int
    epoch: float
    lr: float
    result: StepResult


@dataclass(frozen=True)
class Evaluated:
    """The validation split was looked at; `best`: better than every time before."""

    step: int
    epoch: float
    metrics: dict[str, Any]
    best: bool


@dataclass(frozen=True)
class Stopped:
    """Training is over. `early`: it stopped before its last step because validation no longer improved."""

    step: int
    early: bool


Event = Stepped | Evaluated | Stopped


@dataclass(frozen=True)
class Recipe:
    """How to train: everything the loop needs besides the model and the data."""

    steps: Sequence[Step]
    lr: float
    warmup_fraction: float
    schedule: optim.Schedule
    weight_decay: float
    clip_norm: float
    evaluate_every: int
    early_stopping: int
    optimizer: optim.Kind = "adamw"
    check_first_loss: bool = True


def fit(
    tuned: Tuned,
    encoded: Encoded,
    *,
    task: Classification,
    recipe: Recipe,
    evaluate: Callable[[], dict[str, Any]] | None,
    places: Sequence[str],
    watch: Callable[[int, torch.optim.Optimizer], AbstractContextManager[Any]] = lambda index, optimizer: nullcontext(),
) -> Iterator[Event]:
    """Train in place. `evaluate` measures the validation split (None: there is none); `places` names rows in error messages.

    `watch`: what is opened around every update, by its number from 0.

    Ties in validation accuracy are broken by the lower loss.
    """
    optimizer = optim.build(tuned, lr=recipe.lr, weight_decay=recipe.weight_decay, kind=recipe.optimizer)
    device = str(next(iter(tuned.trainable().values())).device)
    guard = _GradientGuard(tuned)
    num_steps, best, waited = len(recipe.steps), (-1.0, -math.inf), 0
    for index, step in enumerate(recipe.steps):
        tuned.owner.train()
        lr = optim.lr_at(
            index, num_steps=num_steps, peak=recipe.lr, warmup_fraction=recipe.warmup_fraction, schedule=recipe.schedule
        )
        parts = [packing.collate(encoded, rows, device=device) for rows in step.batches]
        with watch(index, optimizer):
            result = train_step(tuned, parts, task=task, optimizer=optimizer, lr=lr, clip_norm=recipe.clip_norm)
        _refuse_non_finite(result, step=index + 1, lr=lr, places=[places[row] for part in parts for row in part.rows])
        if index == 0 and recipe.check_first_loss:
            _refuse_strange_start(result.loss, task=task)
        guard.look(index)
        epoch = step.epochs_done
        yield Stepped(step=index + 1, num_steps=num_steps, epoch=epoch, lr=lr, result=result)
        if evaluate is None or ((index + 1) % recipe.evaluate_every and index + 1 != num_steps):
            continue
        tuned.owner.eval()
        optimizer.zero_grad(set_to_none=True)  # nobody needs the gradients while validation is scored
        metrics = evaluate()
        score = (metrics["accuracy"], -metrics["loss"])
        improved = score > best
        best, waited = (score, 0) if improved else (best, waited + 1)
        yield Evaluated(step=index + 1, epoch=epoch, metrics=metrics, best=improved)
        if recipe.early_stopping and waited >= recipe.early_stopping and index + 1 != num_steps:
            yield Stopped(step=index + 1, early=True)
            return
    yield Stopped(step=num_steps, early=False)


def _refuse_non_finite(result: StepResult, *, step: int, lr: float, places: Sequence[str]) -> None:
    if result.applied:
        return
    raise UserError(
        f"step {step}: loss {result.loss}, gradient norm {result.grad_norm} at learning rate {lr:.2e}; the step was not applied",
        where=", ".join(places[:50]),
        fix="lower the learning rate (--lr), or look at these rows",
        code=ExitCode.NON_FINITE,
    )


def _refuse_strange_start(loss: float, *, task: Classification) -> None:
    """A fresh head knows nothing, so the first loss is ln(classes); anything else means labels or head are mixed up."""
    expected = task.expected_first_loss
    if abs(loss - expected) > FIRST_LOSS_SLACK * expected:
        raise UserError(
            f"the first loss is {loss:.4f}, a fresh head over {len(task.labels)} labels starts at {expected:.4f}",
            where="step 1",
            fix="labels and head do not belong together; please report this with the command",
            code=ExitCode.MISMATCH,
        )


class _GradientGuard:
    """Every trained tensor must be reached: connected at the first step, not all zero within a few."""

    def __init__(self, tuned: Tuned) -> None:
        self.waiting = tuned.trainable()

    def look(self, index: int) -> None:
        """Raise `UserError` when a trained tensor gets no gradient."""
        if not self.waiting or index >= WATCHED_STEPS:
            return
        dead = [name for name, parameter in self.waiting.items() if parameter.grad is None]
        if not dead:
            self.waiting = {name: p for name, p in self.waiting.items() if p.grad is not None and not p.grad.any()}
            dead = list(self.waiting) if index == WATCHED_STEPS - 1 else []
        if dead:
            raise UserError(
                f"{len(dead)} trained tensors get no gradient, for instance {dead[0]}",
                where=f"step {index + 1}",
                fix="they would stay as they are; choose a target that the text's tokens pass through",
                code=ExitCode.MISMATCH,
            )
