"""The rows of a measurement, drawn from a data folder and written as the splits of a run."""

import collections
import json
import random
from collections.abc import Mapping
from pathlib import Path

VALIDATION_ROWS = 300
PER_LABEL = "-a-label"
Rows = list[dict[str, str]]


def read_splits(folder: Path) -> tuple[Rows, Rows, Rows]:
    """(training, validation, test) rows; a split without a file has none."""
    from finewright.data import readers

    splits: dict[str, Rows] = {"train": [], "validation": [], "test": []}
    for name, rows in splits.items():
        for path in sorted(folder.glob(f"{name}.*")):
            records, _ = readers.read_records(path)
            rows += [{key: str(record.values[key]) for key in ("text", "label")} for record in records]
    return splits["train"], splits["validation"], splits["test"]


def write_splits(splits: Mapping[str, Rows], into: Path) -> None:
    """One file for each split that has rows."""
    for name, rows in splits.items():
        if rows:
            (into / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> Rows:
    """Of a file that `write_splits` wrote; none if there is no such file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def first_of_each_label(rows: Rows, most: int) -> Rows:
    """The first `most` rows of each label, in their order."""
    seen: collections.Counter[str] = collections.Counter()
    chosen = []
    for row in rows:
        seen[row["label"]] += 1
        chosen += [row] if seen[row["label"]] <= most else []
    return chosen


def draw_number(rows: Rows, number: int, *, seed: int) -> tuple[Rows, Rows]:
    """(`number` rows that have every label, up to `VALIDATION_ROWS` others)."""
    rows, dice, labels = rows[:], random.Random(seed), {row["label"] for row in rows}
    dice.shuffle(rows)
    while {row["label"] for row in rows[:number]} != labels:  # a rare label may be missing in so few rows: draw again
        dice.shuffle(rows)
    return rows[:number], rows[number : number + VALIDATION_ROWS]
