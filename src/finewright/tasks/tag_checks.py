"""Faults of the tags of words, as findings."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from finewright.core.units import counted
from finewright.data.checks import Finding, places_of
from finewright.data.dataset import Dataset
from finewright.data.readers.base import bad_file
from finewright.data.tag_schemes import OUTSIDE, has_entities
from finewright.data.tagged_tokens import TaggedText

if TYPE_CHECKING:
    from finewright.data.token_windows import EncodedTexts

FEW_ENTITIES = 10
"""Entities of a type in training below which hardly anything is learnt of it."""


NOTABLE_HIDDEN = 0.01
"""Share of words without a token of their own from which on it is said."""


def check_tags(dataset: Dataset) -> list[Finding]:
    """Return what is worth knowing of the tags of all splits."""
    return [*_find_nothing_to_learn(dataset), *_find_unknown(dataset), *_find_numbers(dataset), *_find_rare(dataset)]


def _rows(rows: Sequence[object]) -> list[TaggedText]:
    return [row for row in rows if isinstance(row, TaggedText)]


def _find_nothing_to_learn(dataset: Dataset) -> Iterator[Finding]:
    if dataset.train and len(dataset.labels) < 2:
        message = f"every word of the training rows has the tag {dataset.labels[0]!r}: there is nothing to learn"
        yield Finding("one_class", "error", message, places_of(dataset.train[:1]), "training needs words with at least two tags")


def _known(labels: Sequence[str]) -> set[str]:
    """Return the tags that a model of training rows with these tags has."""
    if not has_entities(labels):
        return {*labels}
    return {OUTSIDE, *(f"{prefix}-{label[2:]}" for label in labels if label != OUTSIDE for prefix in "BI")}


def _find_unknown(dataset: Dataset) -> Iterator[Finding]:
    known = _known(dataset.labels)
    for name, rows in (("validation", dataset.validation), ("test", dataset.test)):
        unseen = [row for row in _rows(rows) if not known.issuperset(row.tags)]
        if unseen:
            tags = ", ".join(sorted({tag for row in unseen for tag in row.tags} - known)[:10])
            have = "has tags that never occur" if len(unseen) == 1 else "have tags that never occur"
            message = f"{counted(len(unseen), f'{name} row')} {have} in training: {tags}"
            yield Finding("unseen_label", "error", message, places_of(unseen), "add training rows with them, or correct them")


def _find_numbers(dataset: Dataset) -> Iterator[Finding]:
    if dataset.labels and all(label.isdecimal() for label in dataset.labels):
        message = "the tags are numbers without names, so entities cannot be told: the share of right tags decides"
        yield Finding(
            "numeric_labels", "warning", message, (), "write the names of the tags, such as B-PER, in place of the numbers"
        )


def _find_rare(dataset: Dataset) -> Iterator[Finding]:
    counts = Counter(span.label for row in _rows(dataset.train) for span in row.spans())
    rare = {label: count for label, count in counts.items() if count < FEW_ENTITIES}
    if rare and sum(counts.values()) >= FEW_ENTITIES:
        listed = ", ".join(f"{label} ({count})" for label, count in sorted(rare.items(), key=lambda item: item[1])[:10])
        message = f"types with fewer than {FEW_ENTITIES} entities in training: {listed}"
        rows = [row for row in _rows(dataset.train) if any(span.label in rare for span in row.spans())]
        yield Finding("single_row", "warning", message, places_of(rows), "add rows with them, or leave these types out")


def check_encoded(encoded: "EncodedTexts", rows: Sequence[TaggedText], *, name: str, limit: int) -> list[Finding]:
    """Return what became of the words and the texts of a split as tokens."""
    found = []
    counts = encoded.split.num_trained
    empty = [rows[row] for row, length in zip(encoded.row_of, encoded.split.lengths, strict=True) if not length]
    if empty:
        message = f"{counted(len(empty), f'{name} text')} without a token: nothing would reach the model"
        found.append(Finding("no_tokens", "error", message, places_of(empty), "correct these rows, or another tokenizer"))
    if encoded.num_windowed:
        long = list(dict.fromkeys(row for row, after in zip(encoded.row_of, encoded.row_of[1:], strict=False) if row == after))
        message = (
            f"{counted(len(long), f'{name} text')} longer than {limit:,} tokens: read in overlapping windows, nothing is cut"
        )
        found.append(
            Finding("windows", "warning", message, places_of([rows[row] for row in long]), "data.max_length=N changes it")
        )
    num_words = sum(len(row.words) for row in rows)
    if encoded.num_hidden > NOTABLE_HIDDEN * num_words:
        message = f"{encoded.num_hidden:,} of {counted(num_words, f'{name} word')} have no token of their own"
        fix = "they are not trained, and are predicted as part of the word before them"
        found.append(Finding("hidden_words", "warning", message, (), fix))
    if name == "train" and rows and not sum(counts):
        message = "no training word has a token of its own: nothing can be learnt"
        found.append(Finding("no_tokens", "error", message, places_of(rows[:1]), "another tokenizer"))
    return found


def check_known_tags(rows: Sequence[TaggedText], labels: Sequence[str]) -> None:
    """Raise `UserError` that counts the tags of rows that are not among `labels`."""
    known = {*labels}
    unknown = [row for row in rows if not known.issuperset(row.tags)]
    if not unknown:
        return
    counts = Counter(tag for row in unknown for tag in row.tags if tag not in known).most_common()
    listed = ", ".join(f"{tag!r:.60} ({count:,})" for tag, count in counts[:10])
    have = "has" if len(unknown) == 1 else "have"
    what = f"{len(unknown):,} of {len(rows):,} rows, from here on, {have} tags that the model does not know: {listed}"
    raise bad_file(what, unknown[0].where, f"its tags are {', '.join(labels[:20])}")
