"""Faults of a data set's labels, as findings, together with those of its texts."""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from finewright.core.units import counted
from finewright.data.checks import (
    HELD_OUT,
    Finding,
    find_duplicates,
    find_empty,
    find_no_training,
    group_repeated_texts,
    places_of,
    splits_of,
)
from finewright.data.dataset import Dataset
from finewright.data.labels import normalise_label, number_of
from finewright.data.pair_checks import find_pair_faults
from finewright.data.splits import Example
from finewright.tasks.pair_bias import find_one_text_bias

IMBALANCE = 10
LEAK_SHARE, LEAK_ELSEWHERE, LEAK_ROWS = 0.95, 0.2, 5
MOST_FRACTIONS = 21
"""Different labels with decimals that may still be classes: ratings from 0 to 10 in halves."""
MOST_OWN_LABELS, FEW_ROWS = 0.5, 20
"""Share of rows with a label that no other row has, from which on nothing could be learnt of most labels; and the rows from
which on that is no accident."""
_SEPARATORS = re.compile(r"[,;|]")


def check_labelled_texts(dataset: Dataset) -> list[Finding]:
    """Return everything that is worth knowing before a classifier is trained, errors first."""
    splits = splits_of(dataset)
    groups = group_repeated_texts(splits)
    found = [*_find_unusable_labels(dataset), *_find_no_classes(splits)]
    for name in HELD_OUT:
        found += [*find_empty(dataset, name), *_find_one_class(name, splits[name])]
    found += [
        *find_duplicates(splits, groups),
        *find_pair_faults(splits),
        *find_one_text_bias(dataset),
        *_find_contradictions(groups),
        *_find_similar_labels(dataset),
        *_find_several_labels(dataset),
        *_find_leaking_labels(dataset),
        *_find_imbalance(dataset),
    ]
    return sorted(found, key=lambda finding: finding.severity)


def _find_unusable_labels(dataset: Dataset) -> Iterator[Finding]:
    fix = "training needs rows of at least two labels"
    yield from find_no_training(dataset, fix=fix)
    if dataset.train and len(dataset.labels) < 2:
        message = f"one class only ({', '.join(dataset.labels)}): there is nothing to learn"
        yield Finding("one_class", "error", message, places_of(dataset.train[:1]), fix)
    known = set(dataset.labels)
    for name, rows in (("validation", dataset.validation), ("test", dataset.test)):
        unseen = [row for row in rows if row.label not in known]
        if unseen:
            names = ", ".join(_with_nearest(label, dataset.labels) for label in sorted({row.label for row in unseen}))
            have = "has a label that never occurs" if len(unseen) == 1 else "have labels that never occur"
            message = f"{counted(len(unseen), f'{name} row')} {have} in training: {names}"
            fix = "add training rows for them, or leave them out with --set data.drop_unseen_labels=true"
            yield Finding("unseen_label", "error", message, places_of(unseen), fix)
    counts = Counter(row.label for row in dataset.train)
    single = [row for row in dataset.train if counts[row.label] == 1]
    if single:
        have = f"{counted(len(single), 'label')} {'has' if len(single) == 1 else 'have'}"
        message = f"{have} one training row: {', '.join(sorted(row.label for row in single)[:10])}"
        yield Finding("single_row", "warning", message, places_of(single), "add rows, or merge labels")


def _find_no_classes(splits: Mapping[str, Sequence[Example]]) -> Iterator[Finding]:
    """Find labels that are measured numbers, or names of single rows: each value would be a class of hardly any row."""
    rows = [row for part in splits.values() for row in part]
    counts = Counter(row.label for row in rows)
    own = [row for row in rows if counts[row.label] == 1]
    alone = len(rows) >= FEW_ROWS and len(own) > MOST_OWN_LABELS * len(rows)
    numbers = [number_of(label) for label in counts]
    decimals = None not in numbers and any(number is not None and number.denominator > 1 for number in numbers)
    some = list(counts)
    if decimals and (alone or len(counts) > MOST_FRACTIONS):
        examples = ", ".join(some[:3])
        message = f"the labels are numbers, not classes: {len(counts):,} different ones in {len(rows):,} rows, such as {examples}"
        fix = "--task regression predicts a number; another --label-column; --force makes a class of each number"
        yield Finding("numeric_labels", "error", message, places_of(rows[:5]), fix, forcible=True)
    elif alone:
        examples = ", ".join(f"{row.label!r:.40}" for row in own[:2])
        have = "has" if len(own) == 1 else "have"
        message = f"{len(own):,} of {len(rows):,} rows {have} a label that no other row has, such as {examples}"
        fix = "another --label-column, or fewer labels with several rows each; --force trains anyway"
        yield Finding("distinct_labels", "error", message, places_of(own[:5]), fix, forcible=True)


def _find_several_labels(dataset: Dataset) -> Iterator[Finding]:
    """Find labels that are lists of other labels: a comma alone does not make one."""
    parts = {label: _parts_of(label) for label in dataset.labels}
    known = {some[0] for some in parts.values() if len(some) == 1}
    lists = {label for label, some in parts.items() if len(some) > 1 and known.issuperset(some)}
    rows = [row for row in dataset.train if row.label in lists]
    if rows:
        subject = "1 row looks" if len(rows) == 1 else f"{len(rows):,} rows look"
        message = (
            f"{subject} like several labels in one cell, such as {rows[0].label!r:.60}: each combination is a class of its own"
        )
        fix = "--task multi-label-classification learns several labels per text; else keep one label for each row"
        yield Finding("several_labels", "warning", message, places_of(rows), fix)


def _parts_of(label: str) -> list[str]:
    """Return the labels that a cell such as `a,b`, `a|b` or `['a', 'b']` lists."""
    bare = label[1:-1] if label[:1] + label[-1:] in ("[]", "()", "{}") else label
    return [part.strip().strip("'\"").strip() for part in _SEPARATORS.split(bare)]


def _with_nearest(label: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(normalise_label(label), [normalise_label(name) for name in known], n=1, cutoff=0.8)
    name = next((name for name in known if [normalise_label(name)] == near), None)
    return repr(label) if name is None else f"{label!r} (in training: {name!r})"


def _find_one_class(name: str, rows: Sequence[Example]) -> Iterator[Finding]:
    labels = {row.label for row in rows}
    if len(labels) == 1:
        message = f"every {name} row has the label {labels.pop()!r}"
        fix = "accuracy there says little; add rows of other labels"
        yield Finding("one_class_split", "warning", message, places_of(rows), fix)


def _find_contradictions(groups: Mapping[str, Mapping[str, Sequence[Example]]]) -> Iterator[Finding]:
    """Find texts that occur with several labels. `groups`: from `group_repeated_texts`."""
    both: dict[str, list[Example]] = defaultdict(list)
    for group in groups.values():
        for text, rows in group.items():
            both[text] += rows
    contradictory = [row for rows in both.values() if len({row.label for row in rows}) > 1 for row in rows]
    if contradictory:
        message = f"{len(contradictory):,} rows have a text that also occurs with another label"
        yield Finding(
            "two_labels", "warning", message, places_of(contradictory), "decide on one label: no model can get both right"
        )


def _find_similar_labels(dataset: Dataset) -> Iterator[Finding]:
    counts = Counter(row.label for row in dataset.train)
    twins: dict[str, list[str]] = defaultdict(list)
    for label in dataset.labels:
        twins[normalise_label(label)].append(label)
    for group in twins.values():
        if len(group) > 1:
            rarer = set(group) - {max(group, key=lambda label: counts[label])}
            named = (f"{label!r} ({counted(counts[label], 'row')})" for label in group)
            message = f"labels that look the same: {', '.join(named)}"
            rows = [row for row in dataset.train if row.label in rarer]
            yield Finding(
                "twin_labels",
                "warning",
                message,
                places_of(rows),
                "--set data.merge_similar_labels=true makes one label of them, if they mean the same",
            )


def _find_leaking_labels(dataset: Dataset) -> Iterator[Finding]:
    """Find labels whose own name occurs in nearly all of their texts and hardly elsewhere."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for row in dataset.train:
        by_label[row.label].append(row)
    for label, own in by_label.items():
        if len(label) < 3 or not any(map(str.isalnum, label)) or len(own) < LEAK_ROWS or len(by_label) < 2:
            continue
        words = re.sub(r"[_\W]+", r"[_\\W]+", label.strip())
        pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
        inside = [row for row in own if pattern.search(row.text)]
        if len(inside) / len(own) <= LEAK_SHARE:
            continue
        others = [row for row in dataset.train if row.label != label]
        elsewhere = sum(bool(pattern.search(row.text)) for row in others)
        if elsewhere / len(others) < LEAK_ELSEWHERE:
            message = (
                f"the label {label!r} occurs in {len(inside):,} of its {len(own):,} training texts"
                f" and in {elsewhere:,} of the {counted(len(others), 'other')}"
            )
            fix = "take it out of the texts if it will not be there later: the model would only learn to look for it"
            yield Finding("label_in_text", "warning", message, places_of(inside), fix)


def _find_imbalance(dataset: Dataset) -> Iterator[Finding]:
    counts = Counter(row.label for row in dataset.train).most_common()
    if len(counts) > 1 and counts[0][1] >= IMBALANCE * counts[-1][1]:
        (most, many), (least, few) = counts[0], counts[-1]
        message = f"labels are uneven: {most!r} has {many:,} training rows, {least!r} {few:,}"
        fix = "--set training.class_weights=balanced counts rare labels more; macro F1 shows how they fare"
        yield Finding("imbalance", "warning", message, (), fix)
