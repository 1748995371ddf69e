"""Samples of token ids with a mark for every token that is learnt: what fits, what is cut, what is left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data.conversations import Conversation
from finewright.data.tokenization import TokenRows

DESCRIBED_SOURCES = {
    "marks": "by the chat template's own marks",
    "prefix": "as what each turn adds to the text before it",
    "turns": "one sample for each answer, where the text or the tokens of earlier turns change",
    "text": "every token of texts",
    "tokens": "as the rows say",
}


@dataclass(frozen=True)
class EncodedConversations:
    """Samples of rows: a row may give several, or none.

    Parameters
    ----------
    row_of
        The index of the row of each sample, shape (S,).
    ids, trained
        Token ids of each sample, and whether each token is a target: it is predicted from those before it, so the first never is.
    over_long
        Indices of rows that were left out as they are too long; `longest`: the tokens of the longest sample before cutting.
    num_cut
        Samples whose prompt was cut.
    without_target
        Indices of rows that gave no sample, as nothing of them is learnt.
    mask_sources
        By how trained tokens were found, how many samples.
    """

    row_of: np.ndarray
    ids: TokenRows
    trained: TokenRows
    num_rows: int
    over_long: tuple[int, ...]
    longest: int
    num_cut: int
    without_target: tuple[int, ...]
    mask_sources: dict[str, int]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.row_of)

    @property
    def num_trained(self) -> int:
        """The number of tokens that are learnt."""
        return int(self.trained.flat.sum())

    @property
    def trained_share(self) -> float:
        """The share of tokens that are learnt."""
        return self.num_trained / max(1, len(self.ids.flat))


@dataclass
class Sample:
    """`head`: tokens at the start that stay when a prompt is cut; `answer`: the first token of the last answer."""

    row: int
    ids: list[int]
    trained: list[bool]
    mask_source: str
    head: int = 0
    answer: int = 0
    starts: list[int] = field(default_factory=list)


def last_run(marks: Sequence[bool]) -> int:
    """Return where the last run of trained tokens begins."""
    place = len(marks)
    while place and not marks[place - 1]:
        place -= 1
    while place and marks[place - 1]:
        place -= 1
    return place


def cut_prompt(sample: Sample, limit: int) -> bool:
    """Leave out the oldest tokens after the system prompt so that `limit` are left; return whether that is possible.

    The last answer stays whole. An earlier answer that loses its start is not learnt.
    """
    excess, head = len(sample.ids) - limit, sample.head
    room = sample.answer - head
    if room < excess or not any(sample.trained[sample.answer :]):
        return False
    place = head + excess
    if excess and sample.trained[place - 1]:
        while place < sample.answer and sample.trained[place]:
            sample.trained[place] = False
            place += 1
    sample.ids = [*sample.ids[:head], *sample.ids[head + excess :]]
    sample.trained = [*sample.trained[:head], *sample.trained[head + excess :]]
    return True


class Collector:
    """Takes samples that fit into `limit` tokens, and counts the others."""

    def __init__(self, limit: int, options: DataConfig) -> None:
        self.limit, self.options = limit, options
        self.rows: list[int] = []
        self.ids: list[np.ndarray] = []
        self.trained: list[np.ndarray] = []
        self.over_long: dict[int, None] = {}
        self.empty: dict[int, None] = {}
        self.longest = self.num_cut = 0
        self.mask_sources: Counter[str] = Counter()

    def add(self, sample: Sample) -> None:
        """Take one sample, in pieces if it is a text that is too long."""
        sample.trained[:1] = [False] * len(sample.trained[:1])
        self.longest = max(self.longest, len(sample.ids))
        if sample.mask_source == "text":
            step = self.limit - 1  # the last token of a piece begins the next one, so that every token is learnt once
            for start in range(0, max(1, len(sample.ids) - 1), step):
                ids = sample.ids[start : start + self.limit]
                self._take(Sample(sample.row, ids, [False, *[True] * (len(ids) - 1)][: len(ids)], "text"))
            return
        if not any(sample.trained):
            self.empty[sample.row] = None
            return
        if len(sample.ids) > self.limit:
            if self.options.over_long == "drop" or not cut_prompt(sample, self.limit):
                self.over_long[sample.row] = None
                return
            self.num_cut += 1
        self._take(sample)

    def _take(self, sample: Sample) -> None:
        if not any(sample.trained):
            self.empty[sample.row] = None
            return
        self.rows.append(sample.row)
        self.ids.append(np.array(sample.ids, dtype=np.int32))
        self.trained.append(np.array(sample.trained, dtype=bool))
        self.mask_sources[sample.mask_source] += 1

    def finish(self, rows: Sequence[Conversation], notes: list[str]) -> EncodedConversations:
        """Return what was taken; raise `UserError` if nothing of it is learnt."""
        taken = set(self.rows)
        without = tuple(index for index in range(len(rows)) if index not in taken and index not in self.over_long)
        if rows and not self.rows:
            raise self._nothing_left(rows)
        lengths = np.array([len(one) for one in self.ids], dtype=np.int32)
        flat = [np.concatenate([np.zeros(0, kind), *some]) for some, kind in ((self.ids, np.int32), (self.trained, bool))]
        if self.over_long:
            share = f"{len(self.over_long):,} of {len(rows):,} rows"
            are, were = ("is", "was") if len(self.over_long) == 1 else ("are", "were")
            notes.append(f"{share} {are} longer than {self.limit:,} tokens and {were} left out; the longest has {self.longest:,}")
        if self.num_cut:
            prompts = counted(self.num_cut, "prompt was", "prompts were")
            notes.append(f"{prompts} cut at the start, so that {self.limit:,} tokens hold the answer")
        if without:
            notes.append(f"{counted(len(without), 'row has', 'rows have')} no token that is learnt")
        notes += [
            f"trained tokens: {DESCRIBED_SOURCES[source]} ({counted(count, 'sample')})"
            for source, count in self.mask_sources.items()
        ]
        return EncodedConversations(
            np.array(self.rows, dtype=np.int64),
            TokenRows(flat[0], lengths),
            TokenRows(flat[1], lengths),
            len(rows),
            tuple(self.over_long),
            self.longest,
            self.num_cut,
            without,
            dict(self.mask_sources),
            tuple(notes),
        )

    def _nothing_left(self, rows: Sequence[Conversation]) -> UserError:
        if self.over_long:
            what = f"no row is left: {len(self.over_long):,} of {len(rows):,} are longer than {self.limit:,} tokens"
            what += f" (the longest has {self.longest:,})"
            fix = "--set data.max_length=N allows longer ones, --set data.over_long=cut-prompt cuts prompts"
        else:
            what, fix = "no token of these rows is learnt", "give rows with answers, or --set data.trained_tokens=all"
        return UserError(what, where=rows[0].where.rpartition(":")[0], fix=fix, code=ExitCode.BAD_DATA)
