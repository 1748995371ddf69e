"""One update that fits into memory: made again in smaller passes as long as memory runs out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property, partial
from typing import Any

import torch

from finewright import batches as packing
from finewright import memory, tasks
from finewright.batches import Encoded
from finewright.errors import RESUME, ExitCode, UserError
from finewright.state import TrainState, random_state, same_randomness, set_random_state
from finewright.step import StepResult, apply, gradients
from finewright.tasks import Classification


class _TooMuch(Exception):
    """Memory ran out: what is opened around the work hears that it failed."""


class Update:
    """An update from the texts of `passes` (row indices of each forward pass), cut as often as the state says."""

    def __init__(
        self,
        state: TrainState,
        encoded: Encoded,
        *,
        passes: Sequence[tuple[int, ...]],
        task: Classification,
        lr: float,
        clip_norm: float,
    ) -> None:
        self.state, self.encoded, self.task = state, encoded, task
        self.lr, self.clip_norm = lr, clip_norm
        self._whole = passes
        self._random = random_state(state.device)

    @property
    def rows(self) -> list[int]:
        """All rows of the update."""
        return [row for rows in self._whole for row in rows]

    @property
    def passes(self) -> tuple[tuple[int, ...], ...]:
        """Row indices of each forward pass as it is made."""
        if not self.state.progress.halvings:
            return tuple(self._whole)
        return packing.halved(self._whole, self._lengths, times=self.state.progress.halvings)

    @cached_property
    def _lengths(self) -> dict[int, int]:
        """Tokens of the update's texts as they were first cut."""
        return {row: len(self.encoded.ids[row]) + self.state.tuned.prompt_tokens for row in self.rows}

    def made(self, watched: AbstractContextManager[Any]) -> StepResult | None:
        """The result, or None when memory ran out before a weight was changed: only random numbers were drawn then.

        Memory that runs out while weights are changed is a `UserError`: made again, the update would change some of them
        twice. `watched`: what is opened around the work.
        """
        device = str(self.state.device)
        parts = memory.attempt(lambda: [packing.collate(self.encoded, rows, device=device) for rows in self.passes])
        if parts is None:
            return None
        settings: dict[str, Any] = {"task": self.task, "optimizer": self.state.optimizer, "clip_norm": self.clip_norm}
        with suppress(_TooMuch), watched:
            result = memory.attempt(partial(gradients, self.state.tuned, parts, **settings))
            if result is None:
                raise _TooMuch
            if result.applied:
                memory.insist(partial(apply, self.state.optimizer, lr=self.lr), otherwise=self._broken_off())
            return result
        return None

    def _broken_off(self) -> UserError:
        what = "out of memory while the weights were being changed; nothing of this step is kept"
        fix = f"free some memory, then `{RESUME}` goes on from the last checkpoint; --set train.optimizer=adamw8bit, or a "
        fix += "way that trains less (`finewright methods`), needs less in a new run"
        return UserError(what, where=f"step {self.state.progress.step + 1}", fix=fix, code=ExitCode.OUT_OF_MEMORY)

    def halve(self) -> int:
        """Get ready to make it again in smaller passes with the same random numbers; their number.

        Raises a `UserError` when every pass is of one text.
        """
        if all(len(rows) == 1 for rows in self.passes):
            longest = max(len(self.encoded.ids[row]) for rows in self.passes for row in rows)
            raise UserError(
                f"out of memory with one text at a time, the longest of {longest} tokens",
                where=f"step {self.state.progress.step + 1}",
                fix="shorter texts (--set data.max_length=N), a way that trains less (`finewright methods`), or a smaller model",
                code=ExitCode.OUT_OF_MEMORY,
            )
        self.state.progress.halvings += 1
        self.state.optimizer.zero_grad(set_to_none=True)
        set_random_state(self._random)
        memory.give_back(self.state.device.type)
        return len(self.passes)

    def at_fault(self) -> list[int]:
        """Rows whose loss is no number even when they are scored alone, without dropout."""
        tuned, device = self.state.tuned, str(self.state.device)
        self.state.optimizer.zero_grad(set_to_none=True)
        tuned.owner.eval()
        found = []
        with torch.no_grad(), same_randomness(self.state.device):
            for row in self.rows:
                batch = packing.collate(self.encoded, [row], device=device)
                losses, _ = self.task.losses(tasks.logits(tuned, batch.ids, batch.layout, batch.states), batch.targets)
                if not bool(torch.isfinite(losses).all()):
                    found.append(row)
        return found
