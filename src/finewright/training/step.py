"""One training step: forward, loss, backward, gradient clipping and the update."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property, partial
from typing import Any

import torch

from finewright.core import oom
from finewright.core.errors import RESUME, ExitCode, UserError
from finewright.core.events import StepResult
from finewright.data import packing
from finewright.data.packing import Batch, EncodedSplit
from finewright.models.prepared import PreparedModel
from finewright.tasks.base import Task
from finewright.training import objectives
from finewright.training.state import TrainState, get_random_state, preserving_random_state, set_random_state

_TINY = 1e-6
"""What PyTorch adds to a norm before it divides by it. Gradients within the limit are not scaled at all."""


def train_step(
    prepared_model: PreparedModel,
    batches: Sequence[Batch],
    *,
    task: Task,
    optimizer: torch.optim.Optimizer,
    lr: float,
    max_grad_norm: float,
) -> StepResult:
    """Make one update from all texts of `batches`. A step with a non-finite loss or gradient is not applied."""
    result = compute_gradients(prepared_model, batches, task=task, optimizer=optimizer, max_grad_norm=max_grad_norm)
    if result.applied:
        apply_gradients(optimizer, lr=lr)
    return result


def compute_gradients(
    prepared_model: PreparedModel,
    batches: Sequence[Batch],
    *,
    task: Task,
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float,
) -> StepResult:
    """Compute the clipped gradients of all texts of `batches`, as if they were one batch. No weight is changed.

    The loss of each micro-batch is divided by the weight of the whole update, so accumulation does not change its scale.
    """
    optimizer.zero_grad(set_to_none=True)
    total_weight = sum(objectives.compute_weight(prepared_model, batch, task=task) for batch in batches)
    loss_sum = 0.0
    for batch in objectives.measure_aside(prepared_model, batches):
        loss = objectives.compute_loss(prepared_model, batch, task=task) / total_weight
        loss.backward()
        loss_sum += float(loss.detach())
    parameters = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
    norm = torch.nn.utils.get_total_norm([one.grad for one in parameters])
    grad_norm = float(norm)
    if 0 < max_grad_norm < grad_norm + _TINY:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)
    applied = math.isfinite(loss_sum) and math.isfinite(grad_norm)
    num_tokens = sum(batch.num_tokens for batch in batches)
    return StepResult(loss_sum, grad_norm, num_tokens, sum(len(batch.rows) for batch in batches), applied)


def apply_gradients(optimizer: torch.optim.Optimizer, *, lr: float) -> None:
    """Update the weights with their gradients."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()


class _OutOfMemory(Exception):
    """Memory ran out. It leaves the surrounding context manager as an exception, so that this can clean up."""


class UpdateAttempt:
    """An update from `micro_batches` (row indices of each), split as often as the state says, until it fits into memory."""

    def __init__(
        self,
        state: TrainState,
        encoded: EncodedSplit,
        *,
        micro_batches: Sequence[tuple[int, ...]],
        task: Task,
        lr: float,
        max_grad_norm: float,
    ) -> None:
        self.state, self.encoded, self.task = state, encoded, task
        self.lr, self.max_grad_norm = lr, max_grad_norm
        self._unsplit = micro_batches
        self._random = get_random_state(state.device)

    @property
    def rows(self) -> list[int]:
        """All rows of the update."""
        return [row for rows in self._unsplit for row in rows]

    @property
    def micro_batches(self) -> tuple[tuple[int, ...], ...]:
        """Row indices of each micro-batch after splitting."""
        if not self.state.progress.micro_batch_splits:
            return tuple(self._unsplit)
        return packing.split_micro_batches(self._unsplit, self._lengths, times=self.state.progress.micro_batch_splits)

    @cached_property
    def _lengths(self) -> dict[int, int]:
        """Number of tokens of each row of the update, prompt included."""
        return {row: len(self.encoded.ids[row]) + self.state.prepared_model.prompt_tokens for row in self.rows}

    def made(self, watched: AbstractContextManager[Any]) -> StepResult | None:
        """Return the result, or None if memory ran out before a weight was changed. Then only random numbers were drawn.

        Raise `UserError` if memory runs out while weights are changed: a repeated update would change some of them twice.
        `watched`: context manager around the work.
        """
        device = str(self.state.device)
        batches = oom.run_or_none(lambda: [packing.collate(self.encoded, rows, device=device) for rows in self.micro_batches])
        if batches is None:
            return None
        settings: dict[str, Any] = {"task": self.task, "optimizer": self.state.optimizer, "max_grad_norm": self.max_grad_norm}
        with suppress(_OutOfMemory), watched:
            result = oom.run_or_none(partial(compute_gradients, self.state.prepared_model, batches, **settings))
            if result is None:
                raise _OutOfMemory
            if result.applied:
                oom.run_or_raise(
                    partial(apply_gradients, self.state.optimizer, lr=self.lr), otherwise=self._partial_update_error()
                )
            return result
        return None

    def _partial_update_error(self) -> UserError:
        what = "out of memory while the weights were being changed; this step is not saved"
        fix = f"free some memory, then `{RESUME}` continues from the last checkpoint; --set training.optimizer=adamw8bit, or a "
        fix += "method that trains fewer parameters (`finewright methods`), needs less in a new run"
        return UserError(what, where=f"step {self.state.progress.step + 1}", fix=fix, code=ExitCode.OUT_OF_MEMORY)

    def split(self) -> int:
        """Split the micro-batches for another attempt with the same random numbers. Return their number.

        Raise `UserError` if every micro-batch has one text only.
        """
        if self.state.prepared_model.runtime.objective == "pairs":
            what, fix = (
                "out of memory while texts were compared with each other",
                "shorter texts (--set data.max_length=N), or another method",
            )
            raise UserError(what, where=f"step {self.state.progress.step + 1}", fix=fix, code=ExitCode.OUT_OF_MEMORY)
        if all(len(rows) == 1 for rows in self.micro_batches):
            longest = max(len(self.encoded.ids[row]) for rows in self.micro_batches for row in rows)
            raise UserError(
                f"out of memory with one text at a time, the longest of {longest} tokens",
                where=f"step {self.state.progress.step + 1}",
                fix="shorter texts (--set data.max_length=N), a method that trains fewer parameters (`finewright methods`), or a "
                "smaller model",
                code=ExitCode.OUT_OF_MEMORY,
            )
        self.state.progress.micro_batch_splits += 1
        self.state.optimizer.zero_grad(set_to_none=True)
        set_random_state(self._random)
        oom.release_memory(self.state.device.type)
        return len(self.micro_batches)

    def at_fault(self) -> list[int]:
        """Return the rows whose loss is not finite even when they are scored alone, without dropout."""
        prepared_model, device = self.state.prepared_model, str(self.state.device)
        self.state.optimizer.zero_grad(set_to_none=True)
        prepared_model.trainable_module.eval()
        bad_rows = []
        with torch.no_grad(), preserving_random_state(self.state.device):
            for row in self.rows:
                batch = packing.collate(self.encoded, [row], device=device)
                if not bool(torch.isfinite(objectives.compute_loss(prepared_model, batch, task=self.task))):
                    bad_rows.append(row)
        return bad_rows
