"""Labels: what a cell says, their order, names that look the same."""

import datetime
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from finewright.core.units import counted
from finewright.data.readers.base import ShownCell
from finewright.data.splits import Example

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_ANY_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?|[+-]?\.[0-9]+")
_LONGEST_NUMBER = 100
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0")
_TRUTH_VALUES = ("true", "false")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))


def read_label(value: Any) -> tuple[str, str]:
    """Return (label, fault). NA, None and null are labels like any other if they are written as text.

    A truth value has the name that pandas gives it in a CSV file, a time that of ISO 8601: the same rows then have the same
    labels in memory and in every format.
    """
    if isinstance(value, ShownCell) and isinstance(value.value, bool):
        value = value.value
    if _is_missing(value):
        return "", "no label"
    if isinstance(value, bool):
        return str(value), ""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time() and value.tzinfo is None:
        value = value.date()
    if isinstance(value, datetime.date | datetime.time):
        return str(value), ""
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _LONGEST_NUMBER:  # of a database, or Parquet
        value = int(value) if value == int(value) else str(value.normalize())
    if not isinstance(value, str | int | float) or value in (math.inf, -math.inf):
        return "", f"wanted one label, found {value!r:.60}"
    whole = isinstance(value, float) and float(value).is_integer() and abs(value) < 2**53  # 1.0 is the class 1, in every file
    return str(int(value) if whole else value).strip(), ""


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))


def find_whole_numbers(labels: Iterable[str]) -> dict[str, str]:
    """Return `1` for each label `1.0` if all labels are numbers: text files then have the labels of typed ones."""
    labels = list(labels)
    found = {label: whole[1] for label in labels if (whole := _WHOLE.fullmatch(label))}
    return found if found and all(map(_NUMBER.fullmatch, labels)) else {}


def sort_labels(labels: set[str]) -> tuple[tuple[str, ...], Literal["text", "integer", "boolean"]]:
    """Return (labels in order, their kind)."""
    if labels and all(map(_INTEGER.fullmatch, labels)):
        return tuple(sorted(labels, key=int)), "integer"
    return tuple(sorted(labels)), "boolean" if {label.casefold() for label in labels} == {"true", "false"} else "text"


def normalise_label(label: str) -> str:
    """Return what labels share that differ only by case, spaces, invisible characters, or how an accent or number is written."""
    plain = "".join(unicodedata.normalize("NFKC", label).translate(_INVISIBLE).casefold().split())
    number = number_of(plain)
    return plain if number is None else str(number)


def number_of(label: str) -> Fraction | None:
    """Return the number that a label is, exactly, so that long ids stay apart; None if it is none."""
    return Fraction(label) if len(label) <= _LONGEST_NUMBER and _ANY_NUMBER.fullmatch(label) else None


def find_similar_labels(counts: Mapping[str, int], *, known: Iterable[str] = ()) -> dict[str, str]:
    """Return, for each label that looks like another, the spelling to use: one that is `known`, or the most frequent."""
    known = set(known)
    groups: dict[str, list[str]] = defaultdict(list)
    for label in {**dict.fromkeys(sorted(known), 0), **counts}:
        groups[normalise_label(label)].append(label)
    found = {}
    for group in groups.values():
        best = max(sorted(group), key=lambda label: (label in known, counts.get(label, 0)))
        found |= {label: best for label in group if label != best and label not in known}
    return found


def spell_truth_values(rows: Sequence[Example], known: Iterable[str]) -> list[Example]:
    """Return the rows with truth values as the `known` labels write them: programs write true, True and TRUE for one value."""
    spelling: dict[str, set[str]] = defaultdict(set)
    for label in known:
        spelling[label.casefold()].add(label)
    names = {value: next(iter(found)) for value, found in spelling.items() if value in _TRUTH_VALUES and len(found) == 1}
    return [replace(row, label=names.get(row.label.casefold(), row.label)) for row in rows] if names else list(rows)


def merge_similar_labels(
    splits: Mapping[str, Sequence[Example]], *, known: Iterable[str] = ()
) -> tuple[dict[str, list[Example]], list[str]]:
    """Return the splits with one spelling for labels that look the same, and a note for each that changed.

    `known`: labels of a model, whose spelling wins; otherwise the most frequent one in training wins.
    """
    everywhere = Counter(row.label for rows in splits.values() for row in rows)
    counts = Counter(row.label for row in splits.get("train", ())) or everywhere
    merged = find_similar_labels({**dict.fromkeys(everywhere, 0), **counts}, known=known)
    rows = {
        name: [replace(row, label=merged[row.label]) if row.label in merged else row for row in some]
        for name, some in splits.items()
    }
    return rows, [
        f"labels merged: {old!r} ({counted(everywhere[old], 'row')}) is now {new!r}" for old, new in sorted(merged.items())
    ]
