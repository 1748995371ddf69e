"""Packed batches of texts by token budget, in an order that is a pure function of (seed, epoch)."""

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, overload

import numpy as np
import torch

from finewright.core import oom
from finewright.core.errors import ExitCode, UserError
from finewright.data import tokenization
from finewright.data.layout import PackedLayout, sort_by_length
from finewright.data.text_pairs import TextInput
from finewright.data.tokenization import TokenRows

T = TypeVar("T")
Lengths = Sequence[int] | Mapping[int, int]
"""Tokens of each row, of all rows or of those that are used."""
ROWS_PER_STEP = 16
"""What the automatic token budget holds on average: the usual batch of published fine-tuning recipes."""


@dataclass(frozen=True)
class EncodedSplit:
    """Tokenized texts. `lengths_uncut`: tokens before cutting to the limit; of a row of several texts, those of the longest as it
    is used. `targets`: of each text its class, a number, or a number for each label; empty for unlabelled texts.

    `cached_states`: outputs of the frozen lower layers for these texts, if there are any. `trained`: where tokens are the
    targets, whether each is one (1 or 0), in the shape of `ids`; a text's first token never is. `tags`: where tokens are not
    said but classified, the class of each token that `trained` marks, in the shape of `ids`; `targets` are the task's own then.

    `parts`: where a row consists of several texts, one after the other in its ids, their tokens, shape (N, P). Such rows are read
    as P texts that do not see each other, always in one pass. `num_aside`: so many of the last texts of each row are read without
    gradients. `reference`: sums of the log-probabilities of the targets of each text by the untrained model, shape (N, P).
    `first_lengths`: of pairs of texts, how many tokens of each are of the first token type, shape (N,); None if all are.
    """

    ids: Sequence[Sequence[int]] | TokenRows
    lengths_uncut: Sequence[int]
    targets: list[Any]
    cached_states: Any = None
    trained: Sequence[Sequence[int]] | TokenRows | None = None
    tags: Sequence[Sequence[int]] | TokenRows | None = None
    parts: np.ndarray | None = None
    num_aside: int = 0
    reference: np.ndarray | None = None
    first_lengths: np.ndarray | None = None

    @property
    def num_trained(self) -> list[int]:
        """How many tokens of each text are targets; empty where tokens are none."""
        return [] if self.trained is None else [int(np.sum(self.trained[row])) for row in range(len(self.ids))]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text as it is used."""
        return self.ids.lengths.tolist() if isinstance(self.ids, TokenRows) else [len(ids) for ids in self.ids]

    def flat(self) -> np.ndarray:
        """Return the ids of all texts one after the other."""
        if isinstance(self.ids, TokenRows):
            return self.ids.flat
        return np.fromiter((token for ids in self.ids for token in ids), dtype=np.int32)

    def tokens(self) -> list[int]:
        """Return the token ids that occur, in ascending order."""
        return np.unique(self.flat()).tolist()

    def by_text(self) -> "EncodedSplit":
        """Return the texts that the rows consist of as rows of their own, without targets; itself if each row is one text."""
        if self.parts is None:
            return self
        lengths = self.parts.reshape(-1).astype(np.int32)
        return EncodedSplit(TokenRows(self.flat(), lengths), lengths.tolist(), [])


@dataclass(frozen=True)
class Batch:
    """Texts of one forward pass, in ascending order of length. `rows`: their indices; ids (T,), targets (N,).

    `states`: outputs of the frozen lower layers, shape (T, H), or None if these layers are still to run.
    `read`: where tokens are the targets, the index in `ids` of the token before each, and where they are classified, of each
    itself, shape (M,); `targets` has shape (M,) then, and `num_targets` says how many of them each text has, in order.

    Of rows that consist of several texts: `texts_RP` is the place of each of them in the batch, shape (R, P), in the order of
    `rows`, which are R then; `row_targets` the target of each row, shape (R,); `reference` as in `EncodedSplit`, (R, P + A);
    `aside` the batch of the A texts of each row that are read without gradients; `aside_ratio` the mean difference of their
    log-probabilities from the reference over a whole update, once it is measured.
    """

    rows: tuple[int, ...]
    ids: torch.Tensor
    layout: PackedLayout
    targets: torch.Tensor
    states: torch.Tensor | None = None
    read: torch.Tensor | None = None
    num_targets: tuple[int, ...] = ()
    texts_RP: torch.Tensor | None = None
    row_targets: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    aside: "Batch | None" = None
    aside_ratio: torch.Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens of the batch; none is padding."""
        return len(self.ids) + (0 if self.aside is None else self.aside.num_tokens)


@dataclass(frozen=True)
class Update:
    """One update. `batches`: the row indices of each micro-batch. `epochs_done`: epochs after it, a fraction included."""

    epochs_done: float
    batches: tuple[tuple[int, ...], ...]

    def pass_tokens(self, lengths: Sequence[int]) -> list[int]:
        """Return the tokens of each micro-batch, from the lengths of all texts."""
        return [sum(lengths[row] for row in rows) for rows in self.batches]


def encode_texts(
    tokenizer: Any,
    texts: Sequence[TextInput],
    *,
    targets: Sequence[Any] = (),
    limit: int,
    keep_end: bool = False,
    keep: bool = False,
    known: dict[str, list[int]] | None = None,
) -> EncodedSplit:
    """Return the token ids of every text or pair of texts, cut to `limit` at the end, or at the start with `keep_end`.

    `keep`: cache the ids on disk for the next run. `known`: uncut ids of texts that the tokenizer has seen; added to.
    """
    found = tokenization.tokenize(tokenizer, texts, limit=limit, keep_end=keep_end, keep=keep, known=known)
    return EncodedSplit(found.ids, found.lengths_uncut.tolist(), list(targets), first_lengths=found.first_lengths)


def auto_tokens_per_batch(lengths: Sequence[int], *, prompt_tokens: int = 0) -> tuple[int, str]:
    """Return the tokens of a micro-batch that holds ROWS_PER_STEP texts of mean length, and the reason."""
    mean = sum(lengths) / len(lengths) + prompt_tokens
    longest = max(lengths) + prompt_tokens
    budget = max(math.ceil(ROWS_PER_STEP * mean), longest)
    why = f"{ROWS_PER_STEP} texts of {mean:.0f} tokens on average"
    return budget, why if budget > longest else f"the longest text has {longest} tokens"


def _shuffled(num_rows: int, *, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_rows).astype(np.int32)


def _cuts(lengths: np.ndarray, *, budget: int) -> np.ndarray:
    """Return where each micro-batch begins, and the end: a new one begins where the next text would exceed the budget."""
    before = np.concatenate([[0], np.cumsum(lengths)])
    cuts = [0]
    while cuts[-1] < len(lengths):
        start = cuts[-1]
        cuts.append(max(start + 1, int(np.searchsorted(before, before[start] + budget, side="right")) - 1))
    return np.array(cuts, dtype=np.int32)


def _micro_batches(order: np.ndarray, cuts: np.ndarray) -> list[tuple[int, ...]]:
    places = (cuts - cuts[:1]).tolist()
    rows = order[cuts[0] : cuts[-1]].tolist()
    return [tuple(rows[start:end]) for start, end in itertools.pairwise(places)]


@dataclass(frozen=True, eq=False)
class _Epoch:
    """`order`: all rows. `cuts`: where each micro-batch begins, and the end. `updates`: the first one of each, and the end."""

    number: int
    order: np.ndarray
    cuts: np.ndarray
    updates: np.ndarray

    def step(self, index: int) -> Update:
        passes = _micro_batches(self.order, self.cuts[self.updates[index] : self.updates[index + 1] + 1])
        return Update(self.number + (index + 1) / (len(self.updates) - 1), tuple(passes))

    def split_micro_batches(self, lengths: Sequence[int], *, times: int) -> "_Epoch":
        """Return the same updates in smaller micro-batches: the rows keep their order, so only cuts are added."""
        parts = [split_micro_batches([rows], lengths, times=times) for rows in _micro_batches(self.order, self.cuts)]
        firsts = np.cumsum([0, *map(len, parts)])
        cuts = np.cumsum([0, *(len(rows) for part in parts for rows in part)])
        return _Epoch(self.number, self.order, cuts.astype(np.int32), firsts[self.updates].astype(np.int32))


class UpdateSchedule(Sequence[Update]):
    """Updates in order, each built when it is indexed: an epoch takes a few bytes per row."""

    def __init__(self, epochs: Sequence[_Epoch], starts: Sequence[int], numbers: range) -> None:
        self._epochs, self._starts, self._numbers = epochs, starts, numbers

    def __len__(self) -> int:
        """Return the number of updates."""
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Update: ...
    @overload
    def __getitem__(self, index: slice) -> "UpdateSchedule": ...
    def __getitem__(self, index: int | slice) -> "Update | UpdateSchedule":
        """Return one update, or a schedule of some."""
        if isinstance(index, slice):
            return UpdateSchedule(self._epochs, self._starts, self._numbers[index])
        number = self._numbers[index]
        epoch = bisect.bisect_right(self._starts, number) - 1
        return self._epochs[epoch].step(number - self._starts[epoch])

    def split_micro_batches(self, lengths: Sequence[int], *, times: int) -> "UpdateSchedule":
        """Return the same updates in smaller micro-batches."""
        return UpdateSchedule(
            [epoch.split_micro_batches(lengths, times=times) for epoch in self._epochs], self._starts, self._numbers
        )


def schedule_updates(
    lengths: Sequence[int], *, budget: int, gradient_accumulation_steps: int, seed: int, epochs: float, max_steps: int = 0
) -> UpdateSchedule:
    """Return every update of a training run, in order. A fraction of an epoch takes that share of its updates.

    In an epoch every row occurs once: shuffled by seed and epoch, cut where the next text would exceed the budget. Rows are
    grouped by chance alone, never by length, so that a batch is a fair sample.
    """
    made, starts, sizes = [], [0], np.asarray(lengths, dtype=np.int64)
    for number in range(math.ceil(epochs)):
        order = _shuffled(len(sizes), seed=seed, epoch=number)
        cuts = _cuts(sizes[order], budget=budget)
        updates = np.array([*range(0, len(cuts) - 1, gradient_accumulation_steps), len(cuts) - 1], dtype=np.int32)
        made.append(_Epoch(number, order, cuts, updates))
        num_updates, share = len(updates) - 1, min(1.0, epochs - number)
        starts.append(starts[-1] + min(num_updates, max(1, round(share * num_updates))))
    return UpdateSchedule(made, starts, range(min(starts[-1], max_steps) if max_steps else starts[-1]))


def schedule_balanced_updates(targets: Sequence[int], *, rows_per_update: int, seed: int, num_updates: int) -> UpdateSchedule:
    """Return updates of texts whose pairs are compared: of each target that an update has at least two texts, if there are two.

    Targets take turns, as do the rows of a target, each turn shuffled anew by the seed: every row occurs about as often as the
    others of its target. An epoch is as many updates as read each row once.
    """
    dice = np.random.default_rng([seed, len(targets)])
    rows_by_target = {target: np.flatnonzero(np.asarray(targets) == target) for target in sorted(set(targets))}
    take_target, take_row = _turns(list(rows_by_target), dice), {t: _turns(rows, dice) for t, rows in rows_by_target.items()}
    num_targets = max(1, min(len(rows_by_target), rows_per_update // 2))
    per_epoch = max(1, math.ceil(len(targets) / rows_per_update))
    made, starts = [], [0]
    for number in range(math.ceil(num_updates / per_epoch)):
        drawn = [_draw_balanced(take_target, take_row, num_targets, rows_per_update) for _ in range(per_epoch)]
        cuts = np.cumsum([0, *map(len, drawn)]).astype(np.int32)
        order = np.array([row for rows in drawn for row in rows], dtype=np.int32)
        made.append(_Epoch(number, order, cuts, np.arange(per_epoch + 1, dtype=np.int32)))
        starts.append(starts[-1] + per_epoch)
    return UpdateSchedule(made, starts, range(num_updates))


def _turns(values: Sequence[int] | np.ndarray, dice: np.random.Generator) -> Iterator[int]:
    """Yield the values in a new random order again and again."""
    while True:
        yield from (int(values[place]) for place in dice.permutation(len(values)))


def _draw_balanced(
    take_target: Iterator[int], take_row: Mapping[int, Iterator[int]], num_targets: int, num_rows: int
) -> list[int]:
    """Return rows of `num_targets` targets, about as many of each; no row twice, even if that makes fewer."""
    chosen: dict[int, None] = {}
    while len(chosen) < num_targets:
        chosen[next(take_target)] = None
    share, rest = divmod(num_rows, num_targets)
    rows = (next(take_row[t]) for place, t in enumerate(chosen) for _ in range(share + (place < rest)))
    return list(dict.fromkeys(rows))


def split_micro_batches(passes: Sequence[tuple[int, ...]], lengths: Lengths, *, times: int) -> tuple[tuple[int, ...], ...]:
    """Split each micro-batch `times` over in two of about the same tokens; a single row is not split."""
    for _ in range(times):
        passes = [half for rows in passes for half in _split_in_two(rows, lengths)]
    return tuple(passes)


def _split_in_two(rows: tuple[int, ...], lengths: Lengths) -> Iterator[tuple[int, ...]]:
    if len(rows) == 1:
        yield rows
        return
    before = list(itertools.accumulate(lengths[row] for row in rows))
    middle = min(range(1, len(rows)), key=lambda place: abs(before[place - 1] - before[-1] / 2))
    yield rows[:middle]
    yield rows[middle:]


def count_new_sizes(steps: Sequence[Update], lengths: Sequence[int], *, remembered: int) -> int:
    """Count the micro-batches whose number of tokens none of the `remembered` ones before has."""
    last: dict[int, int] = {}
    num_new = 0
    for place, tokens in enumerate(tokens for step in steps for tokens in step.pass_tokens(lengths)):
        num_new += tokens not in last or place - last[tokens] > remembered
        last[tokens] = place
    return num_new


def evaluation_batches(lengths: Sequence[int], *, budget: int) -> list[tuple[int, ...]]:
    """Return batches for evaluation, where order does not matter: neighbours in length share a batch."""
    order = np.asarray(sort_by_length(lengths), dtype=np.int64)
    return _micro_batches(order, _cuts(np.asarray(lengths, dtype=np.int64)[order], budget=budget))


def map_with_oom_split(
    passes: Sequence[tuple[int, ...]], lengths: Sequence[int], run: Callable[[tuple[int, ...]], T], *, doing: str
) -> Iterator[T]:
    """Yield `run(rows)` for every micro-batch, the last one first.

    When memory runs out, the micro-batch and all that are left are split in two. Raise `UserError` if a single text is too
    much; `doing` names the work in its message.
    """
    waiting = list(passes)
    while waiting:
        rows = waiting.pop()
        made = oom.run_or_none(partial(run, rows))
        if made is not None:
            yield made
        elif len(rows) > 1:
            waiting = list(split_micro_batches([*waiting, rows], lengths, times=1))
        else:
            what = f"out of memory while {doing} one text of {lengths[rows[0]]} tokens"
            fix = "shorter texts (--set data.max_length=N in training), or a smaller model"
            raise UserError(what, fix=fix, code=ExitCode.OUT_OF_MEMORY)


def collate(encoded: EncodedSplit, rows: Sequence[int], *, device: str = "cpu") -> Batch:
    """Return one batch of the given rows."""
    if encoded.parts is not None:
        return _collate_parts(encoded, encoded.parts, tuple(sorted(rows)), device=device)
    ordered = sorted(rows, key=lambda row: (len(encoded.ids[row]), row))
    batch = _collate_texts(
        [np.asarray(encoded.ids[row], dtype=np.int64) for row in ordered],
        None if encoded.trained is None else [np.asarray(encoded.trained[row], dtype=bool) for row in ordered],
        tags=None if encoded.tags is None else [np.asarray(encoded.tags[row], dtype=np.int64) for row in ordered],
        rows=ordered,
        states=None if encoded.cached_states is None else encoded.cached_states.rows(ordered),
        device=device,
    )
    if encoded.first_lengths is not None:
        batch = replace(batch, layout=batch.layout.with_types(encoded.first_lengths[ordered].tolist()))
    if encoded.trained is not None:
        return batch
    return replace(batch, targets=_collect_targets(encoded, ordered).to(device))


def _collect_targets(encoded: EncodedSplit, rows: Sequence[int]) -> torch.Tensor:
    """Return the targets of the rows: classes as integers, numbers as float32."""
    targets = [encoded.targets[row] for row in rows] if encoded.targets else []
    are_classes = not targets or isinstance(targets[0], int | np.integer)
    return torch.tensor(targets, dtype=torch.long if are_classes else torch.float32)


def _collate_texts(
    ids: Sequence[np.ndarray],
    trained: Sequence[np.ndarray] | None,
    *,
    rows: Sequence[int],
    states: torch.Tensor | None,
    device: str,
    tags: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Return one batch of texts in ascending order of length; its targets are the tokens that are trained, or their tags."""
    flat = np.concatenate(ids)
    layout = PackedLayout(tuple(map(len, ids)))
    states = None if states is None else states.to(device)
    tokens = torch.from_numpy(flat).to(device)
    if trained is None:
        return Batch(tuple(rows), tokens, layout, tokens[:0], states)
    places = np.flatnonzero(np.concatenate(trained))
    found, before = (flat, 1) if tags is None else (np.concatenate(tags), 0)
    targets, read = torch.from_numpy(found[places]).to(device), torch.from_numpy(places - before).to(device)
    return Batch(tuple(rows), tokens, layout, targets, states, read, tuple(int(marks.sum()) for marks in trained))


def _collate_parts(encoded: EncodedSplit, parts: np.ndarray, rows: tuple[int, ...], *, device: str) -> Batch:
    """Return one batch of the texts that the rows consist of. Those that are read without gradients are a batch of their own."""
    assert encoded.trained is not None, "the targets of rows of several texts are tokens"
    bounds = np.concatenate([np.zeros((len(parts), 1), dtype=np.int64), np.cumsum(parts, axis=1)], axis=1)

    def collect(numbers: range) -> Batch:
        texts = sorted(((row, part) for row in rows for part in numbers), key=lambda one: (parts[one], one))
        some = [slice(int(bounds[row, part]), int(bounds[row, part + 1])) for row, part in texts]
        cached = encoded.cached_states
        batch = _collate_texts(
            [np.asarray(encoded.ids[row], dtype=np.int64)[one] for (row, _), one in zip(texts, some, strict=True)],
            [np.asarray(encoded.trained[row], dtype=bool)[one] for (row, _), one in zip(texts, some, strict=True)],  # type: ignore[index]
            rows=rows,
            states=None if cached is None else cached.rows([row * parts.shape[1] + part for row, part in texts]),
            device=device,
        )
        place = {one: number for number, one in enumerate(texts)}
        order = [[place[row, part] for part in numbers] for row in rows]
        return replace(batch, texts_RP=torch.tensor(order, dtype=torch.long, device=device))

    num_learnt = parts.shape[1] - encoded.num_aside
    reference = None if encoded.reference is None else torch.from_numpy(encoded.reference[list(rows)]).float().to(device)
    return replace(
        collect(range(num_learnt)),
        row_targets=torch.tensor([encoded.targets[row] for row in rows], dtype=torch.long, device=device),
        reference=reference,
        aside=collect(range(num_learnt, parts.shape[1])) if encoded.num_aside else None,
    )


def padding_fraction(plan: Sequence[Update], lengths: Sequence[int]) -> float:
    """Return the share of padding if every micro-batch of `plan` were padded to its longest text."""
    real = sum(lengths[row] for step in plan for rows in step.batches for row in rows)
    positions = sum(len(rows) * max(lengths[row] for row in rows) for step in plan for rows in step.batches)
    return 1 - real / positions
