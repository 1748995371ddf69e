"""Splits stratified by label, and texts that are equal but for case and white space, found without a copy of all texts."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from finewright.core.units import counted

VALIDATION_FRACTION, LEAST_VALIDATION_ROWS = 0.1, 20
"""Share of the rows that validation gets by default, and the fewest rows it is worth keeping: a result on fewer is mostly chance,
and of so little data every row helps training more."""
ENOUGH_VALIDATION_ROWS = 300
"""Validation rows that tell how good a model is even if there are more labels: a share of them is known to 6 points or better."""


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled text; `where` names its place, such as `tickets.csv:17`. Rows of other tasks have more fields.

    `pair`: the two texts of a row whose `text` is these two as one.
    """

    stratified_by: ClassVar[str] = "label"
    """What `stratum` is, in words."""

    text: str
    label: str
    where: str
    pair: tuple[str, str] | None = field(default=None, kw_only=True)

    @property
    def stratum(self) -> str:
        """What a split gives each part the same share of: the label."""
        return self.label

    def own_labels(self) -> tuple[str, ...]:
        """Return the labels of the row that a model learns to tell apart."""
        return (self.label,)

    def duplicate_key(self) -> str:
        """Return the text by which two rows are the same, but for case and white space."""
        return self.text if self.pair is None else " \0 ".join(self.pair)

    def contents(self) -> str:
        """Return all that a model learns from the row, for the fingerprint of a run."""
        return f"{len(self.text)}:{self.text}{len(self.label)}:{self.label}{self._pair_boundary()}"

    def fingerprint_text(self, split: str) -> str:
        """Return all that the row adds to the fingerprint of its data set."""
        return f"{split}\0{self.text}\0{self.label}{self._pair_boundary()}\n"

    def _pair_boundary(self) -> str:
        """Return where the first text of a pair ends: two pairs may make the same text."""
        return "" if self.pair is None else f"\0{len(self.pair[0])}"


def normalise_text(text: str) -> str:
    """Return the text without differences of case and white space."""
    return " ".join(text.casefold().split())


def find_shared(texts: Sequence[str], others: Sequence[str]) -> list[int]:
    """Return the indices of the texts that are among the others too."""
    mine, theirs = _hashes(texts), _hashes(others)
    known = {normalise_text(others[place]) for place in np.flatnonzero(np.isin(theirs, mine)).tolist()}
    return [place for place in np.flatnonzero(np.isin(mine, theirs)).tolist() if normalise_text(texts[place]) in known]


def find_possible_duplicates(texts: Sequence[Iterable[str]]) -> list[list[int]]:
    """Return, list by list, the indices of all texts that occur again in any list, and at most a few others."""
    numbers = [_hashes(some) for some in texts]
    different, counts = np.unique(np.concatenate(numbers), return_counts=True)
    return [np.flatnonzero(np.isin(own, different[counts > 1])).tolist() for own in numbers]


def _hashes(texts: Iterable[str]) -> np.ndarray:
    """Return 64 bits for each text, equal for equal texts. Different texts may share them, so compare the texts too."""
    return np.fromiter((hash(normalise_text(text)) for text in texts), dtype=np.int64)


def nested_order(rows: Sequence[Example], *, seed: int, has_labels: bool = True) -> list[int]:
    """Return row numbers of which every prefix is stratified by label, so that subsets of different sizes are nested.

    First one row of each label, then each label's rows evenly spread. Without `has_labels` the order is by chance: the answers of
    conversations are no labels. A pure function of its arguments.
    """
    by_label: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_label[row.stratum if has_labels else ""].append(index)
    placed = []
    for label, numbers in by_label.items():
        ranked = sorted(numbers, key=lambda index: hashlib.sha256(f"{seed}:{label}:{index}".encode()).digest())
        placed += [((rank > 0, (rank + 0.5) / len(ranked), label), index) for rank, index in enumerate(ranked)]
    return [index for _, index in sorted(placed)]


def stratified_split(labels: Sequence[str], fraction: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Return row numbers (kept, held out). Each label gives `fraction` of its rows, rounded, and keeps at least one.

    Both lists are in ascending order. A pure function of its arguments.
    """
    by_label: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        by_label.setdefault(label, []).append(index)
    held: set[int] = set()
    for label, indices in by_label.items():
        shuffled = indices[:]
        random.Random(f"{seed}:{label}").shuffle(shuffled)
        held.update(shuffled[: min(round(len(indices) * fraction), len(indices) - 1)])
    return [index for index in range(len(labels)) if index not in held], sorted(held)


def _from_small_labels(labels: Sequence[str], fraction: float, *, seed: int) -> list[int]:
    """Return one row of each of so many labels that are too small for `stratified_split` as the fraction of their rows is."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        by_label[label].append(index)
    small = {label: indices for label, indices in by_label.items() if round(len(indices) * fraction) == 0}
    wanted = round(fraction * sum(map(len, small.values())))
    giving = [label for label, indices in small.items() if len(indices) > 1]
    chosen = random.Random(f"{seed}:small labels")
    return [chosen.choice(small[label]) for label in chosen.sample(giving, min(wanted, len(giving)))]


class HoldOut(Protocol):
    """Takes a share of the rows out: returns (kept, held out, note)."""

    def __call__(
        self, rows: list[Example], fraction: float, *, seed: int, name: str
    ) -> tuple[list[Example], list[Example], str]: ...


def note_few_rows(rows: Sequence[Example]) -> str:
    """Return the note that none of so few rows is held out to validate."""
    note = f"no validation file, and a tenth of {len(rows):,} rows would show little: all of them are trained on"
    return f"{note}; data.validation_fraction=0.1 keeps some"


def hold_out(rows: list[Example], fraction: float, *, seed: int, name: str) -> tuple[list[Example], list[Example], str]:
    """Return (kept, held out, note). Rows whose text is in both parts go back to the kept ones.

    Where many labels have too few rows to give one each, and the share over all rows would not be reached by half, some of
    these labels give one.
    """
    labels = [row.stratum for row in rows]
    kept, held = stratified_split(labels, fraction, seed=seed)
    added = _from_small_labels(labels, fraction, seed=seed) if 2 * len(held) < round(fraction * len(rows)) else []
    kept, held = sorted({*kept} - {*added}), sorted([*held, *added])
    again = find_shared([rows[index].text for index in held], [rows[index].text for index in kept])
    back = {held[place] for place in again}
    held = [index for index in held if index not in back]
    by = rows[0].stratified_by if rows else Example.stratified_by
    note = f"no {name} file: {len(held):,} of {len(rows):,} rows held out, stratified by {by}, seed {seed}"
    note += f"; {len(added):,} of them from labels with too few rows to give one each" if added else ""
    note += f"; {counted(len(back), 'row')} whose text is also kept for training went back to it" if back else ""
    return [rows[index] for index in sorted([*kept, *back])], [rows[index] for index in held], note


def hold_out_validation(
    rows: list[Example], fraction: float | None, *, seed: int, hold_out: HoldOut = hold_out
) -> tuple[list[Example], list[Example], str]:
    """Return `hold_out` for validation; without a fraction a tenth of the rows, or none if that is not a row of each label and
    fewer than `ENOUGH_VALIDATION_ROWS`."""
    least = max(LEAST_VALIDATION_ROWS, min(len({row.stratum for row in rows}), ENOUGH_VALIDATION_ROWS))
    if fraction is None and round(VALIDATION_FRACTION * len(rows)) < least:
        return rows, [], note_few_rows(rows)
    return hold_out(rows, VALIDATION_FRACTION if fraction is None else fraction, seed=seed, name="validation")


def split_into_folds(targets: np.ndarray, num_folds: int) -> np.ndarray:
    """Return a fold for each row, shape (N,): the rows of a label are dealt out one by one."""
    folds = np.zeros(len(targets), dtype=int)
    folds[np.argsort(targets, kind="stable")] = np.arange(len(targets)) % num_folds
    return folds


def hold_out_by_chance(
    rows: list[Example], fraction: float, *, seed: int, name: str, most: int
) -> tuple[list[Example], list[Example], str]:
    """Return (kept, held out, note): a share of the rows by chance, at most `most`. Rows with one prompt stay together."""
    wanted = min(round(len(rows) * fraction), most)
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        key = hashlib.sha256(normalise_text(row.duplicate_key()).encode("utf-8", "surrogatepass")).hexdigest()
        groups[key].append(index)
    ranked = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{name}:{key}".encode()).digest())
    held: set[int] = set()
    for key in ranked:
        if len(held) >= wanted or len(groups) == 1:
            break
        if len(held) + len(groups[key]) <= wanted:
            held.update(groups[key])
    note = f"no {name} file: {len(held):,} of {len(rows):,} rows held out by chance, seed {seed}"
    note += f" (at most {most:,})" if wanted == most < round(len(rows) * fraction) else ""
    return [row for index, row in enumerate(rows) if index not in held], [rows[index] for index in sorted(held)], note


def hold_out_validation_by_chance(
    rows: list[Example], fraction: float | None, *, seed: int, most: int
) -> tuple[list[Example], list[Example], str]:
    """Return `hold_out_by_chance` for validation; without a fraction a tenth of the rows, or none if that would be few."""
    if fraction is None and round(VALIDATION_FRACTION * len(rows)) < LEAST_VALIDATION_ROWS:
        return rows, [], note_few_rows(rows)
    share = VALIDATION_FRACTION if fraction is None else fraction
    return hold_out_by_chance(rows, share, seed=seed, name="validation", most=most)
