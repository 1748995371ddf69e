"""What is wrong with this data → findings: errors that stop a run, warnings that are kept and shown."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from finewright.data import Dataset, Row, by_text
from finewright.errors import ExitCode, UserError

MOST_ROWS = 50
IMBALANCE = 10
LEAK_SHARE, LEAK_ELSEWHERE, LEAK_ROWS = 0.95, 0.2, 5


@dataclass(frozen=True)
class Finding:
    """`rows`: every place it concerns."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    rows: tuple[str, ...]
    fix: str

    def as_json(self) -> dict[str, Any]:
        """For checks.json."""
        return asdict(self)


def look(dataset: Dataset) -> list[Finding]:
    """Everything that is worth knowing before training."""
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    found = [
        *_labels(dataset),
        *_split_sizes(splits),
        *_duplicates(splits),
        *_twin_labels(dataset.labels),
        *_leaking_labels(dataset),
        *_imbalance(dataset),
    ]
    return sorted(found, key=lambda finding: finding.severity)


def truncation(lengths: Sequence[int], *, limit: int, kept: Literal["start", "end"], places: Sequence[str]) -> list[Finding]:
    """Texts that are cut to `limit` tokens, and texts that have no token at all. `lengths`: before cutting."""
    cut = tuple(place for length, place in zip(lengths, places, strict=True) if length > limit)
    none = tuple(place for length, place in zip(lengths, places, strict=True) if length == 0)
    found = []
    if none:
        message = f"{len(none)} texts have no token: nothing of them would reach the model"
        found.append(Finding("no_tokens", "error", message, none, "mend these rows, or another tokenizer"))
    if cut:
        file = places[0].split(":")[0]
        message = f"{file}: {len(cut):,} of {len(lengths):,} texts ({len(cut) / len(lengths):.1%}) are longer than {limit} tokens"
        end = "the end is cut off" if kept == "start" else "the start is cut off"
        fix = f"{end}; --set data.max_length=N keeps more, --set data.keep_end={str(kept == 'start').lower()} the other end"
        found.append(Finding("truncated", "warning", message, cut, fix))
    return found


def stop_on_errors(findings: Sequence[Finding]) -> None:
    """Raise a `UserError` that names every row of every error."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    lines = []
    for finding in errors:
        shown = ", ".join(finding.rows[:MOST_ROWS])
        more = f" and {len(finding.rows) - MOST_ROWS} more" if len(finding.rows) > MOST_ROWS else ""
        lines.append(f"{finding.message}{f' ({shown}{more})' if shown else ''}")
    raise UserError("\n".join(lines), fix="; ".join(finding.fix for finding in errors), code=ExitCode.BAD_DATA)


def _places(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row.where for row in rows)


def _labels(dataset: Dataset) -> Iterator[Finding]:
    if len(dataset.labels) < 2:
        message = (
            f"one class only ({', '.join(dataset.labels)}): there is nothing to tell apart"
            if dataset.labels
            else "no training rows"
        )
        yield Finding("one_class", "error", message, _places(dataset.train[:1]), "training wants rows of at least two labels")
    for name, rows in (("validation", dataset.validation), ("test", dataset.test)):
        unseen = [row for row in rows if row.label not in dataset.labels]
        if unseen:
            names = ", ".join(sorted({repr(row.label) for row in unseen}))
            message = f"{len(unseen)} {name} rows have labels that never occur in training: {names}"
            fix = "add training rows for them, or leave them out with --set data.ignore_unseen=true"
            yield Finding("unseen_label", "error", message, _places(unseen), fix)
    counts = Counter(row.label for row in dataset.train)
    single = [row for row in dataset.train if counts[row.label] == 1]
    if single:
        message = f"{len(single)} labels have one training row: {', '.join(sorted(row.label for row in single)[:10])}"
        yield Finding("single_row", "warning", message, _places(single), "add rows, or merge labels")


def _split_sizes(splits: dict[str, list[Row]]) -> Iterator[Finding]:
    for name in ("validation", "test"):
        labels = {row.label for row in splits[name]}
        if not splits[name]:
            yield Finding(f"no_{name}", "warning", f"no {name} rows", (), f"nothing can be measured on {name}")
        elif len(labels) == 1:
            message = f"every {name} row has the label {labels.pop()!r}"
            yield Finding("one_class_split", "warning", message, (), "accuracy there says little; add rows of other labels")


def _duplicates(splits: dict[str, list[Row]]) -> Iterator[Finding]:
    groups = {name: by_text(rows) for name, rows in splits.items()}
    for name, group in groups.items():
        again = [row for rows in group.values() for row in rows[1:]]
        if again:
            message = f"{len(again)} rows of {name} repeat a text of the same split (case and spaces aside)"
            yield Finding("duplicates", "warning", message, _places(again), "remove them: they count twice")
    for name in ("validation", "test"):
        shared = [row for text, rows in groups[name].items() if text in groups["train"] for row in rows]
        if shared:
            share = len(shared) / len(splits[name])
            message = f"{len(shared)} {name} rows ({share:.1%}) have a text that is also in training"
            yield Finding("leak", "warning", message, _places(shared), f"remove them from {name}: it looks better than it is")
    both: dict[str, list[Row]] = defaultdict(list)
    for group in groups.values():
        for text, rows in group.items():
            both[text] += rows
    torn = [row for rows in both.values() if len({row.label for row in rows}) > 1 for row in rows]
    if torn:
        message = f"{len(torn)} rows have a text that also occurs with another label"
        yield Finding("two_labels", "warning", message, _places(torn), "decide on one label: no model can get both right")


def _twin_labels(labels: Sequence[str]) -> Iterator[Finding]:
    twins: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        twins["".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    for group in twins.values():
        if len(group) > 1:
            message = f"labels that look like one: {', '.join(map(repr, group))}"
            yield Finding("twin_labels", "warning", message, (), "write them alike if they mean the same")


def _leaking_labels(dataset: Dataset) -> Iterator[Finding]:
    """A label whose own name stands in nearly all of its texts and hardly elsewhere."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in dataset.train:
        by_label[row.label].append(row)
    for label, own in by_label.items():
        if len(label) < 3 or len(own) < LEAK_ROWS or len(by_label) < 2:
            continue
        words = re.sub(r"[_\W]+", r"[_\\W]+", label.strip())
        pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
        inside = [row for row in own if pattern.search(row.text)]
        if len(inside) / len(own) <= LEAK_SHARE:
            continue
        others = [row for row in dataset.train if row.label != label]
        if sum(bool(pattern.search(row.text)) for row in others) / len(others) < LEAK_ELSEWHERE:
            message = f"the label {label!r} stands in {len(inside)} of its {len(own)} training texts"
            yield Finding(
                "label_in_text", "warning", message, _places(inside), "take it out of the texts if it will not be there later"
            )


def _imbalance(dataset: Dataset) -> Iterator[Finding]:
    counts = Counter(row.label for row in dataset.train).most_common()
    if len(counts) > 1 and counts[0][1] >= IMBALANCE * counts[-1][1]:
        (most, many), (least, few) = counts[0], counts[-1]
        message = f"labels are uneven: {most!r} has {many:,} training rows, {least!r} {few:,}"
        fix = "--set train.class_weights=balanced counts rare labels more; macro F1 shows how they fare"
        yield Finding("imbalance", "warning", message, (), fix)
