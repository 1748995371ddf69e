"""Faults of a data set's numbers, as findings, together with those of its texts."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from finewright.data.checks import (
    HELD_OUT,
    Finding,
    counted,
    find_duplicates,
    find_empty,
    find_no_training,
    group_repeated_texts,
    places_of,
    splits_of,
)
from finewright.data.dataset import Dataset
from finewright.data.number_cells import write_number
from finewright.data.number_rows import value_of
from finewright.data.pair_checks import find_pair_faults
from finewright.data.splits import Example

LEAST_SPREAD = 1e-5
"""Standard deviation, as a share of the largest value, that a network in float32 can still distinguish."""
FAR_OUT = 8.0
"""Median absolute deviations from the median, as multiples of what they are for a normal distribution, of an outlier."""
SKEWED = 3.0
"""Skewness from which on a few large values decide the squared error."""
FEW_VALUES = 5
LEAST_ROWS = 20
_NORMAL = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


def check_numbers(dataset: Dataset) -> list[Finding]:
    """Return everything that is worth knowing before a regression is trained, errors first."""
    splits = splits_of(dataset)
    groups = group_repeated_texts(splits)
    found = [*find_no_training(dataset, fix="training needs rows of at least two numbers")]
    if dataset.train:
        values = np.array([value_of(row) for row in dataset.train], dtype=np.float64)
        found += [*_find_constant(dataset.train, values)]
        found += [] if found else [*_find_few_values(dataset.train, values), *_find_outliers(dataset.train, values)]
        found += [] if values.std() == 0 else [*_find_skew(values), *_find_out_of_range(splits, values)]
    for name in HELD_OUT:
        found += [*find_empty(dataset, name), *_find_constant_split(name, splits[name])]
    found += [*find_pair_faults(splits), *find_duplicates(splits, groups), *_find_contradictions(groups)]
    return sorted(found, key=lambda finding: finding.severity)


def _find_constant(rows: Sequence[Example], values: np.ndarray) -> Iterator[Finding]:
    spread, largest = float(values.std()), float(np.abs(values).max())
    if values.min() == values.max():
        message = f"every training row has the number {write_number(values[0])}: there is nothing to learn"
        yield Finding("constant_number", "error", message, places_of(rows[:1]), "another --label-column, or rows that differ")
    elif spread < LEAST_SPREAD * largest:
        low, high = (write_number(float(end)) for end in (values.min(), values.max()))
        message = f"the numbers hardly differ for their size, from {low} to {high}: a network rounds this away"
        fix = f"subtract {write_number(float(np.round(values.mean())))} from all of them"
        yield Finding("small_spread", "error", message, places_of(rows[:1]), fix)


def _find_few_values(rows: Sequence[Example], values: np.ndarray) -> Iterator[Finding]:
    known = np.unique(values)
    if len(known) <= FEW_VALUES and len(rows) >= LEAST_ROWS:
        listed = ", ".join(write_number(float(one)) for one in known)
        message = f"{len(known)} different numbers in {counted(len(rows), 'training row')}: {listed}"
        fix = "--task text-classification learns them as classes, without an order"
        yield Finding("few_numbers", "warning", message, (), fix)


def _find_outliers(rows: Sequence[Example], values: np.ndarray) -> Iterator[Finding]:
    """Find numbers far from all others: the squared error is mostly theirs, and they are often faults."""
    middle = float(np.median(values))
    spread = max(_NORMAL * float(np.median(np.abs(values - middle))), 1e-3 * float(values.std()))
    far = np.flatnonzero(np.abs(values - middle) > FAR_OUT * spread)
    if len(rows) < LEAST_ROWS or not 0 < len(far) <= max(1, len(rows) // 100):
        return
    far = far[np.argsort(-np.abs(values[far] - middle))]
    shown = ", ".join(write_number(float(values[row])) for row in far[:5])
    have = "is a number" if len(far) == 1 else f"are {len(far):,} numbers"
    message = f"there {have} far from all others ({shown}; the median is {write_number(middle)}): they decide the squared error"
    fix = "correct them if they are faults, or leave these rows out"
    yield Finding("outliers", "warning", message, places_of([rows[int(row)] for row in far]), fix)


def _find_skew(values: np.ndarray) -> Iterator[Finding]:
    skewness = float((((values - values.mean()) / values.std()) ** 3).mean())
    if len(values) < LEAST_ROWS or abs(skewness) < SKEWED:
        return
    side = "large" if skewness > 0 else "small"
    message = f"the numbers are skewed (skewness {skewness:.1f}): a few {side} ones decide the squared error"
    has_logarithm = values.min() > 0 and skewness > 0
    fix = "train on their logarithm, if it is the ratio that counts" if has_logarithm else "see MAE beside RMSE"
    yield Finding("skewed_numbers", "warning", message, (), fix)


def _find_out_of_range(splits: Mapping[str, Sequence[Example]], values: np.ndarray) -> Iterator[Finding]:
    """Find held-out numbers far outside those of training, which hints at another unit."""
    low, high = float(values.min()), float(values.max())
    width = high - low
    for name in HELD_OUT:
        far = [row for row in splits[name] if not low - width <= value_of(row) <= high + width]
        if far:
            message = f"{counted(len(far), f'{name} row')} with numbers far outside those of training, such as {far[0].label}"
            yield Finding("other_range", "warning", message, places_of(far), "check that both have the same unit")


def _find_constant_split(name: str, rows: Sequence[Example]) -> Iterator[Finding]:
    if len(rows) > 1 and len({value_of(row) for row in rows}) == 1:
        message = f"every {name} row has the number {rows[0].label}"
        yield Finding("constant_split", "warning", message, places_of(rows), "R2 and correlations have no meaning there")


def _find_contradictions(groups: Mapping[str, Mapping[str, Sequence[Example]]]) -> Iterator[Finding]:
    """Find texts that occur with several numbers. `groups`: from `group_repeated_texts`."""
    both: dict[str, list[Example]] = defaultdict(list)
    for group in groups.values():
        for text, rows in group.items():
            both[text] += rows
    differing = [row for rows in both.values() if len(Counter(row.label for row in rows)) > 1 for row in rows]
    if differing:
        message = f"{len(differing):,} rows have a text that also occurs with another number"
        yield Finding("two_numbers", "warning", message, places_of(differing), "no model can get both right; keep their mean")
