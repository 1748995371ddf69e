"""Faults of a data set with several labels per text, as findings, together with those of its texts."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

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
from finewright.data.labels import normalise_label
from finewright.data.multi_label_rows import labels_of
from finewright.data.pair_checks import find_pair_faults
from finewright.data.splits import Example

IMBALANCE = 20
"""How many times as many rows the most frequent label has as the rarest one, from which on that is said."""
MOST_NAMED = 10
_ALWAYS_TOGETHER, _LEAST_TOGETHER = 0.95, 5
"""Share of the rows of two labels that have both, from which on they are one label in effect; the fewest such rows."""


def check_multi_label_texts(dataset: Dataset) -> list[Finding]:
    """Return everything that is worth knowing before a classifier with several labels per text is trained, errors first."""
    splits = splits_of(dataset)
    groups = group_repeated_texts(splits)
    found = [*_find_unusable_labels(dataset)]
    for name in HELD_OUT:
        found += find_empty(dataset, name)
    found += [
        *find_pair_faults(splits),
        *find_duplicates(splits, groups),
        *_find_contradictions(groups),
        *_find_similar_labels(dataset),
        *_find_never_alone(dataset),
        *_find_always_together(dataset),
        *_find_single_labels(dataset),
        *_find_imbalance(dataset),
    ]
    return sorted(found, key=lambda finding: finding.severity)


def count_labels(rows: Sequence[Example]) -> Counter[str]:
    """Return the rows of each label."""
    return Counter(label for row in rows for label in labels_of(row))


def _name(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MOST_NAMED:,} more" if len(labels) > MOST_NAMED else ""
    return f"{', '.join(labels[:MOST_NAMED])}{more}"


def _find_unusable_labels(dataset: Dataset) -> Iterator[Finding]:
    yield from find_no_training(dataset, fix="training needs rows with labels")
    if dataset.train and not dataset.labels:
        fix = "--label-column names the column of the labels, --set data.label_separator=… what stands between them"
        yield Finding("no_label", "error", "no training row has a label: there is nothing to learn", (), fix)
    counts, known = count_labels(dataset.train), set(dataset.labels)
    everywhere = [label for label in dataset.labels if counts[label] == len(dataset.train) > 1]
    if everywhere:
        have = f"{_name(everywhere)} {'is a label' if len(everywhere) == 1 else 'are labels'} of every training row"
        yield Finding(
            "constant_label", "warning", f"{have}: nothing tells when it is absent", (), "leave it out, or add other rows"
        )
    for name, rows in (("validation", dataset.validation), ("test", dataset.test)):
        unseen = [row for row in rows if not known.issuperset(labels_of(row))]
        if unseen:
            names = _name(sorted({label for row in unseen for label in labels_of(row)} - known))
            have = "has a label" if len(unseen) == 1 else "have labels"
            message = f"{counted(len(unseen), f'{name} row')} {have} that no training row has: {names}"
            fix = "add training rows for them, or leave these labels out with --set data.drop_unseen_labels=true"
            yield Finding("unseen_label", "error", message, places_of(unseen), fix)
    single = [label for label in dataset.labels if counts[label] == 1]
    if single:
        have = f"{counted(len(single), 'label')} {'has' if len(single) == 1 else 'have'}"
        rows = [row for row in dataset.train if not set(single).isdisjoint(labels_of(row))]
        yield Finding(
            "single_row", "warning", f"{have} one training row: {_name(single)}", places_of(rows), "add rows, or merge labels"
        )


def _find_contradictions(groups: Mapping[str, Mapping[str, Sequence[Example]]]) -> Iterator[Finding]:
    """Find texts that occur with other labels too. `groups`: from `group_repeated_texts`."""
    both: dict[str, list[Example]] = defaultdict(list)
    for group in groups.values():
        for text, rows in group.items():
            both[text] += rows
    contradictory = [row for rows in both.values() if len({row.label for row in rows}) > 1 for row in rows]
    if contradictory:
        message = f"{len(contradictory):,} rows have a text that also occurs with other labels"
        fix = "write each text once with all of its labels: no model can get both right"
        yield Finding("two_labels", "warning", message, places_of(contradictory), fix)


def _find_similar_labels(dataset: Dataset) -> Iterator[Finding]:
    counts = count_labels(dataset.train)
    twins: dict[str, list[str]] = defaultdict(list)
    for label in dataset.labels:
        twins[normalise_label(label)].append(label)
    for group in twins.values():
        if len(group) > 1:
            named = (f"{label!r} ({counted(counts[label], 'row')})" for label in group)
            fix = "--set data.merge_similar_labels=true makes one label of them, if they mean the same"
            rows = [row for row in dataset.train if not set(group).isdisjoint(labels_of(row))]
            yield Finding("twin_labels", "warning", f"labels that look the same: {', '.join(named)}", places_of(rows), fix)


def _find_never_alone(dataset: Dataset) -> Iterator[Finding]:
    """Find labels that only occur with others: what they look like alone is never seen."""
    counts = count_labels(dataset.train)
    alone = {labels_of(row)[0] for row in dataset.train if len(labels_of(row)) == 1}
    never = [label for label in dataset.labels if label not in alone and counts[label] > 1]
    if never and alone:
        have = f"{counted(len(never), 'label')} {'never occurs' if len(never) == 1 else 'never occur'} alone"
        fix = "rows with this label alone, if there are any, show what makes it"
        yield Finding("never_alone", "warning", f"{have}: {_name(never)}", (), fix)


def _find_always_together(dataset: Dataset) -> Iterator[Finding]:
    """Find pairs of labels that have nearly all rows in common."""
    counts = count_labels(dataset.train)
    pairs: Counter[tuple[str, str]] = Counter()
    for row in dataset.train:
        own = labels_of(row)
        if len(own) <= MOST_NAMED * 2:  # pairs of a row with hundreds of labels say little, and are many
            pairs.update((one, other) for place, one in enumerate(own) for other in own[place + 1 :])
    for (one, other), together in pairs.most_common():
        if together < _LEAST_TOGETHER:
            break
        either = counts[one] + counts[other] - together
        if together >= _ALWAYS_TOGETHER * either:
            rows = f"in {together:,} of the {either:,} training rows with one of them"
            message = f"{one!r} and {other!r} nearly always occur together: {rows}"
            fix = "make one label of them, unless rows that tell them apart will come"
            yield Finding("always_together", "warning", message, (), fix)
            return


def _find_single_labels(dataset: Dataset) -> Iterator[Finding]:
    """Find data whose rows all have exactly one label: one label per text is easier to learn."""
    rows = [row for part in splits_of(dataset).values() for row in part]
    if rows and all(len(labels_of(row)) == 1 for row in rows):
        fix = "--task text-classification learns one label per text, and says which is the most probable"
        yield Finding("one_label_each", "warning", "every row has exactly one label", (), fix)


def _find_imbalance(dataset: Dataset) -> Iterator[Finding]:
    counts = count_labels(dataset.train).most_common()
    if len(counts) > 1 and counts[0][1] >= IMBALANCE * counts[-1][1]:
        (most, many), (least, few) = counts[0], counts[-1]
        message = f"labels are uneven: {most!r} has {many:,} training rows, {least!r} {few:,}"
        fix = "--set training.class_weights=balanced counts rare labels more; macro F1 shows how they fare"
        yield Finding("imbalance", "warning", message, (), fix)
