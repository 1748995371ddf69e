"""Rows → packed batches by token budget, in an order that is a pure function of (seed, epoch)."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from finewright import encoding, memory
from finewright.attention import Layout, sort_by_length
from finewright.encoding import TokenRows
from finewright.errors import ExitCode, UserError

T = TypeVar("T")
ROWS_PER_STEP = 16
"""What the automatic token budget holds on average: the usual batch of published fine-tuning recipes."""


@dataclass(frozen=True)
class Encoded:
    """Tokenised texts. `lengths_uncut`: tokens before cutting to the limit. `targets` is empty for unlabelled texts.

    `kept`: what frozen lower blocks make of the texts (`trunk.States`), when that is not computed at every pass.
    """

    ids: Sequence[Sequence[int]] | TokenRows
    lengths_uncut: Sequence[int]
    targets: list[int]
    kept: Any = None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text as it is used."""
        return self.ids.lengths.tolist() if isinstance(self.ids, TokenRows) else [len(ids) for ids in self.ids]

    def flat(self) -> np.ndarray:
        """The ids of all texts one after the other."""
        if isinstance(self.ids, TokenRows):
            return self.ids.flat
        return np.fromiter((token for ids in self.ids for token in ids), dtype=np.int32)

    def tokens(self) -> list[int]:
        """Ids of the tokens that occur, in ascending order."""
        return np.unique(self.flat()).tolist()


@dataclass(frozen=True)
class Batch:
    """Texts of one forward pass, in ascending order of length. `rows`: their indices; ids (T,), targets (N,).

    `states`: what comes out of the frozen lower blocks, shape (T, H), or None when they are still to be run.
    """

    rows: tuple[int, ...]
    ids: torch.Tensor
    layout: Layout
    targets: torch.Tensor
    states: torch.Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """Real tokens; there are no others."""
        return len(self.ids)


@dataclass(frozen=True)
class Step:
    """Forward passes (lists of row indices) that make one update. `epochs_done`: passes over the data after it."""

    epochs_done: float
    batches: tuple[tuple[int, ...], ...]

    def pass_tokens(self, lengths: Sequence[int]) -> list[int]:
        """Tokens of each pass, from the lengths of all texts."""
        return [sum(lengths[row] for row in rows) for rows in self.batches]


def encode(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    targets: Sequence[int] = (),
    limit: int,
    keep_end: bool = False,
    keep: bool = False,
    known: dict[str, list[int]] | None = None,
) -> Encoded:
    """Token ids of every text, those over `limit` cut at the end, or at the start with `keep_end`.

    `keep`: so that the next run over the same texts need not tokenise them again. `known`: uncut ids of texts that the
    tokenizer has seen already, which is added to.
    """
    ids, lengths_uncut = encoding.encode(tokenizer, texts, limit=limit, keep_end=keep_end, keep=keep, known=known)
    return Encoded(ids, lengths_uncut.tolist(), list(targets))


def choose_budget(lengths: Sequence[int], *, prompt_tokens: int = 0) -> tuple[int, str]:
    """Tokens per forward pass that hold ROWS_PER_STEP texts of mean length, and why."""
    mean = sum(lengths) / len(lengths) + prompt_tokens
    longest = max(lengths) + prompt_tokens
    budget = max(math.ceil(ROWS_PER_STEP * mean), longest)
    why = f"{ROWS_PER_STEP} texts of {mean:.0f} tokens on average"
    return budget, why if budget > longest else f"the longest text has {longest} tokens"


def epoch_batches(lengths: Sequence[int], *, budget: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Row indices of each forward pass of an epoch: a seeded shuffle, cut wherever the next text would pass the budget.

    Every row occurs once. Rows are grouped by chance alone, never by length: a batch is an honest sample.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    return list(_cut(order.tolist(), lengths, budget=budget))


def _cut(order: Sequence[int], lengths: Sequence[int], *, budget: int) -> Iterator[tuple[int, ...]]:
    rows: list[int] = []
    used = 0
    for row in order:
        if rows and used + lengths[row] > budget:
            yield tuple(rows)
            rows, used = [], 0
        rows.append(row)
        used += lengths[row]
    if rows:
        yield tuple(rows)


def steps(lengths: Sequence[int], *, budget: int, accumulation: int, seed: int, epochs: float, max_steps: int = 0) -> list[Step]:
    """Every update of a training run, in order. A fraction of an epoch takes that share of its updates."""
    plan: list[Step] = []
    for epoch in range(math.ceil(epochs)):
        batches = epoch_batches(lengths, budget=budget, seed=seed, epoch=epoch)
        groups = [tuple(batches[start : start + accumulation]) for start in range(0, len(batches), accumulation)]
        share = min(1.0, epochs - epoch)
        used = groups[: max(1, round(share * len(groups)))]
        plan += [Step(epoch + (index + 1) / len(groups), group) for index, group in enumerate(used)]
    return plan[:max_steps] if max_steps else plan


def halved(passes: Sequence[tuple[int, ...]], lengths: Sequence[int], *, times: int) -> tuple[tuple[int, ...], ...]:
    """The same rows in smaller passes: each is cut in two of about the same tokens, `times` over; one row stays one."""
    for _ in range(times):
        passes = [half for rows in passes for half in _halves(rows, lengths)]
    return tuple(passes)


def _halves(rows: tuple[int, ...], lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if len(rows) == 1:
        yield rows
        return
    before = list(itertools.accumulate(lengths[row] for row in rows))
    middle = min(range(1, len(rows)), key=lambda place: abs(before[place - 1] - before[-1] / 2))
    yield rows[:middle]
    yield rows[middle:]


def num_new_sizes(steps: Sequence[Step], lengths: Sequence[int], *, remembered: int) -> int:
    """How many passes have as many tokens as none of the `remembered` passes before them."""
    last: dict[int, int] = {}
    num_new = 0
    for place, tokens in enumerate(tokens for step in steps for tokens in step.pass_tokens(lengths)):
        num_new += tokens not in last or place - last[tokens] > remembered
        last[tokens] = place
    return num_new


def by_length(lengths: Sequence[int], *, budget: int) -> list[tuple[int, ...]]:
    """Batches for evaluation, where order does not matter: neighbours in length share a batch."""
    return list(_cut(sort_by_length(lengths), lengths, budget=budget))


def run_all(
    passes: Sequence[tuple[int, ...]], lengths: Sequence[int], run: Callable[[tuple[int, ...]], T], *, doing: str
) -> Iterator[T]:
    """What `run` makes of the rows of every pass, the last pass first.

    Where memory runs out a pass is made again in two, and so are those that are left. A `UserError` when one text
    alone is too much; `doing` says what was done with it.
    """
    waiting = list(passes)
    while waiting:
        rows = waiting.pop()
        made = memory.attempt(partial(run, rows))
        if made is not None:
            yield made
        elif len(rows) > 1:
            waiting = list(halved([*waiting, rows], lengths, times=1))
        else:
            what = f"out of memory while {doing} one text of {lengths[rows[0]]} tokens"
            fix = "shorter texts (--set data.max_length=N in training), or a smaller model"
            raise UserError(what, fix=fix, code=ExitCode.OUT_OF_MEMORY)


def collate(encoded: Encoded, rows: Sequence[int], *, device: str = "cpu") -> Batch:
    """One batch of the given rows."""
    ordered = sorted(rows, key=lambda row: (len(encoded.ids[row]), row))
    flat = np.concatenate([np.asarray(encoded.ids[row], dtype=np.int64) for row in ordered])
    ids = torch.from_numpy(flat).to(device)
    layout = Layout(tuple(len(encoded.ids[row]) for row in ordered))
    targets = torch.tensor([encoded.targets[row] for row in ordered] if encoded.targets else [], dtype=torch.long, device=device)
    states = None if encoded.kept is None else encoded.kept.rows(ordered).to(device)
    return Batch(rows=tuple(ordered), ids=ids, layout=layout, targets=targets, states=states)


def padding_fraction(plan: Sequence[Step], lengths: Sequence[int]) -> float:
    """Share of positions that are padding when every batch of `plan` is padded to its longest text."""
    real = sum(lengths[row] for step in plan for rows in step.batches for row in rows)
    positions = sum(len(rows) * max(lengths[row] for row in rows) for step in plan for rows in step.batches)
    return 1 - real / positions
