"""Splits that give each part the same share of every label, where a row has several: iterative stratification.

Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data": the rows of the rarest label that is left are
dealt out first, each to the part that wants that label most. Rows without a label are dealt out last, as a label of their own.
"""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from finewright.core.units import counted
from finewright.data.splits import (
    LEAST_VALIDATION_ROWS,
    VALIDATION_FRACTION,
    Example,
    HoldOut,
    find_shared,
    note_few_rows,
)

_NO_LABEL = ""
"""Stands for the label of rows that have none; no label is empty."""


def split_iteratively(label_sets: Sequence[Sequence[str]], fraction: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Return row numbers (kept, held out), both ascending: the held-out part gets about `fraction` of the rows of each label.

    The kept part has a row of every label. A pure function of its arguments.
    """
    rows_of: dict[str, set[int]] = defaultdict(set)
    for row, labels in enumerate(label_sets):
        for label in labels or (_NO_LABEL,):
            rows_of[label].add(row)
    wanted_rows = fraction * len(label_sets)
    wanted = {label: fraction * len(rows) for label, rows in rows_of.items()}
    kept_count = dict.fromkeys(rows_of, 0)
    remaining = {label: len(rows) for label, rows in rows_of.items()}
    order = {row: hashlib.sha256(f"{seed}:{row}".encode()).digest() for row in range(len(label_sets))}
    queue = [(count, label == _NO_LABEL, label) for label, count in remaining.items()]
    heapq.heapify(queue)
    held: list[int] = []
    assigned: set[int] = set()
    while queue:
        count, is_none, label = heapq.heappop(queue)
        if count != remaining[label]:  # rows of it were dealt out with another label
            if remaining[label]:
                heapq.heappush(queue, (remaining[label], is_none, label))
            continue
        for row in sorted(rows_of[label] - assigned, key=lambda row: order[row]):
            own = label_sets[row] or (_NO_LABEL,)
            is_needed = any(kept_count[one] == 0 and one != _NO_LABEL and remaining[one] == 1 for one in own)
            goes_out = not is_needed and _wants_more(
                wanted[label], remaining[label], wanted_rows, len(label_sets) - len(assigned)
            )
            for one in own:
                remaining[one] -= 1
                if goes_out:
                    wanted[one] -= 1
                else:
                    kept_count[one] += 1
            wanted_rows -= goes_out
            assigned.add(row)
            if goes_out:
                held.append(row)
    chosen = set(held)
    return [row for row in range(len(label_sets)) if row not in chosen], sorted(held)


def _wants_more(wanted: float, left: int, wanted_rows: float, rows_left: int) -> bool:
    """Whether the held-out part wants a label more than the kept part does; of equal wants the number of rows decides."""
    surplus = 2 * wanted - left
    return surplus > 0 or (surplus == 0 and 2 * wanted_rows >= rows_left)


def hold_out_iteratively(
    rows: list[Example], fraction: float, *, seed: int, name: str
) -> tuple[list[Example], list[Example], str]:
    """Return (kept, held out, note). Rows whose text is in both parts go back to the kept ones."""
    kept, held = split_iteratively([row.own_labels() for row in rows], fraction, seed=seed)
    again = find_shared([rows[index].text for index in held], [rows[index].text for index in kept])
    back = {held[place] for place in again}
    held = [index for index in held if index not in back]
    note = f"no {name} file: {len(held):,} of {len(rows):,} rows held out, an even share of every label, seed {seed}"
    note += f"; {counted(len(back), 'row')} whose text is also kept for training went back to it" if back else ""
    return [rows[index] for index in sorted([*kept, *back])], [rows[index] for index in held], note


def hold_out_validation_iteratively(
    rows: list[Example], fraction: float | None, *, seed: int, hold_out: HoldOut = hold_out_iteratively
) -> tuple[list[Example], list[Example], str]:
    """Return `hold_out` for validation; without a fraction a tenth of the rows, or none if that would be few."""
    if fraction is None and round(VALIDATION_FRACTION * len(rows)) < LEAST_VALIDATION_ROWS:
        return rows, [], note_few_rows(rows)
    share = VALIDATION_FRACTION if fraction is None else fraction
    return hold_out(rows, share, seed=seed, name="validation")


def find_rarest_labels(has_NC: np.ndarray) -> np.ndarray:
    """Return the number of the rarest label of each row, shape (N,); C for a row without one. `has_NC`: 1 where a row has it."""
    rarity_NC = np.where(has_NC > 0, has_NC.sum(axis=0), np.inf)
    return np.where(has_NC.any(axis=1), rarity_NC.argmin(axis=1), has_NC.shape[1]).astype(int)


def nested_order_of_sets(label_sets: Sequence[Sequence[str]], *, seed: int) -> list[int]:
    """Return row numbers of which every prefix has an even share of every label; the first ones cover all labels.

    As many rows as there are labels are enough for that. A pure function of its arguments.
    """
    ranked = sorted(range(len(label_sets)), key=lambda row: hashlib.sha256(f"{seed}:{row}".encode()).digest())
    total: dict[str, int] = defaultdict(int)
    for labels in label_sets:
        for label in labels or (_NO_LABEL,):
            total[label] += 1
    first_of: dict[str, int] = {}
    for row in ranked:
        for label in label_sets[row]:
            first_of.setdefault(label, row)
    covered: set[str] = set()
    chosen: dict[int, None] = {}
    for label in sorted(first_of, key=lambda one: (total[one], one)):
        if label not in covered:
            chosen[first_of[label]] = None
            covered |= {*label_sets[first_of[label]]}
    rank_of: dict[str, int] = defaultdict(int)
    placed = []
    for row in ranked:
        rarest = min(label_sets[row] or (_NO_LABEL,), key=lambda one: (total[one], one))
        rank_of[rarest] += 1
        placed.append(((rank_of[rarest] - 0.5) / total[rarest], rarest, row))
    return [*chosen, *(row for _, _, row in sorted(placed) if row not in chosen)]
