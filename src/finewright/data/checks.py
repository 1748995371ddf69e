"""Faults of a data set, as findings: errors that stop a run, warnings that are saved and shown."""

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import Dataset
from finewright.data.splits import Example, find_possible_duplicates, normalise_text

MOST_ROWS = 50
IMBALANCE = 10
LEAK_SHARE, LEAK_ELSEWHERE, LEAK_ROWS = 0.95, 0.2, 5


@dataclass(frozen=True)
class Finding:
    """`rows`: where each row concerned is."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    rows: tuple[str, ...]
    fix: str

    def as_json(self) -> dict[str, Any]:
        """Return the finding as in checks.json."""
        return asdict(self)


def check_dataset(dataset: Dataset) -> list[Finding]:
    """Return everything that is worth knowing before training, errors first."""
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    found = [
        *_labels(dataset),
        *_split_sizes(splits),
        *_duplicates(splits),
        *_similar_labels(dataset),
        *_leaking_labels(dataset),
        *_imbalance(dataset),
    ]
    return sorted(found, key=lambda finding: finding.severity)


def check_truncation(
    lengths: Sequence[int], *, limit: int, side: Literal["right", "left"], places: Sequence[str]
) -> list[Finding]:
    """Find texts that are cut to `limit` tokens or have no token. `lengths`: before cutting. `side`: where they are cut."""
    cut = tuple(place for length, place in zip(lengths, places, strict=True) if length > limit)
    none = tuple(place for length, place in zip(lengths, places, strict=True) if length == 0)
    found = []
    if none:
        message = "1 text has no token: nothing of it" if len(none) == 1 else f"{len(none)} texts have no token: nothing of them"
        message += " would reach the model"
        found.append(Finding("no_tokens", "error", message, none, "correct these rows, or another tokenizer"))
    if cut:
        file = places[0].split(":")[0]
        share = f"{len(cut):,} of {counted(len(lengths), 'text')} ({len(cut) / len(lengths):.1%})"
        message = f"{file}: {share} {'is' if len(cut) == 1 else 'are'} longer than {limit} tokens"
        end, other = ("the end", "left") if side == "right" else ("the start", "right")
        fix = f"{end} is cut off; --set data.max_length=N keeps more, --set data.truncation_side={other} the other end"
        found.append(Finding("truncated", "warning", message, cut, fix))
    return found


def check_texts_differ(ids: Sequence[Any], rows: Sequence[Example], *, name: str) -> list[Finding]:
    """Find whether different texts of a split all become the same tokens, so that nothing could be learnt."""
    if len(rows) < 2 or all(row.text == rows[0].text for row in rows):
        return []
    first = list(ids[0])
    if any(len(one) != len(first) or list(one) != first for one in ids):
        return []
    message = f"all {len(rows)} {name} texts become the same tokens: the tokenizer cannot tell them apart"
    return [Finding("alike", "error", message, _places(rows[:1]), "another tokenizer, or a longer data.max_length")]


def raise_on_errors(findings: Sequence[Finding]) -> None:
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


def counted(number: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _places(rows: Sequence[Example]) -> tuple[str, ...]:
    return tuple(row.where for row in rows)


def _group_group_by_text(rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Group rows by their text, case and white space aside."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        groups[normalise_text(row.text)].append(row)
    return groups


def _labels(dataset: Dataset) -> Iterator[Finding]:
    wants = "training wants rows of at least two labels"
    if not dataset.train:
        yield Finding("no_train", "error", "no training rows", (), wants)
    elif len(dataset.labels) < 2:
        message = f"one class only ({', '.join(dataset.labels)}): there is nothing to tell apart"
        yield Finding("one_class", "error", message, _places(dataset.train[:1]), wants)
    known = set(dataset.labels)
    for name, rows in (("validation", dataset.validation), ("test", dataset.test)):
        unseen = [row for row in rows if row.label not in known]
        if unseen:
            names = ", ".join(_with_nearest(label, dataset.labels) for label in sorted({row.label for row in unseen}))
            have = "has a label that never occurs" if len(unseen) == 1 else "have labels that never occur"
            message = f"{counted(len(unseen), f'{name} row')} {have} in training: {names}"
            fix = "add training rows for them, or leave them out with --set data.drop_unseen_labels=true"
            yield Finding("unseen_label", "error", message, _places(unseen), fix)
    counts = Counter(row.label for row in dataset.train)
    single = [row for row in dataset.train if counts[row.label] == 1]
    if single:
        have = f"{counted(len(single), 'label')} {'has' if len(single) == 1 else 'have'}"
        message = f"{have} one training row: {', '.join(sorted(row.label for row in single)[:10])}"
        yield Finding("single_row", "warning", message, _places(single), "add rows, or merge labels")


def _with_nearest(label: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(_normalise_label(label), [_normalise_label(name) for name in known], n=1, cutoff=0.8)
    name = next((name for name in known if [_normalise_label(name)] == near), None)
    return repr(label) if name is None else f"{label!r} (in training: {name!r})"


def _normalise_label(label: str) -> str:
    """Return what labels share that differ only by case, spaces or how an accent is encoded."""
    return "".join(unicodedata.normalize("NFKC", label).casefold().split())


def _split_sizes(splits: dict[str, list[Example]]) -> Iterator[Finding]:
    for name in ("validation", "test"):
        labels = {row.label for row in splits[name]}
        if not splits[name]:
            yield Finding(f"no_{name}", "warning", f"no {name} rows", (), f"nothing can be measured on {name}")
        elif len(labels) == 1:
            message = f"every {name} row has the label {labels.pop()!r}"
            fix = "accuracy there says little; add rows of other labels"
            yield Finding("one_class_split", "warning", message, _places(splits[name]), fix)


def _duplicates(splits: dict[str, list[Example]]) -> Iterator[Finding]:
    places = find_possible_duplicates([[row.text for row in rows] for rows in splits.values()])
    groups = {
        name: _group_group_by_text([splits[name][place] for place in some]) for name, some in zip(splits, places, strict=True)
    }
    for name, group in groups.items():
        again = [row for rows in group.values() for row in rows[1:]]
        if again:
            repeat = f"{counted(len(again), 'row')} of {name} {'repeats' if len(again) == 1 else 'repeat'}"
            message = f"{repeat} a text of the same split (case and spaces aside)"
            yield Finding("duplicates", "warning", message, _places(again), "remove what repeats: it counts twice")
    for source, name in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = [row for text, rows in groups[name].items() if text in groups[source] for row in rows]
        if shared:
            share = f"{counted(len(shared), f'{name} row')} ({len(shared) / len(splits[name]):.1%})"
            message = f"{share} {'has' if len(shared) == 1 else 'have'} a text that is also in {source}"
            why = "memorised" if source == "train" else "already used to choose the best step"
            fix = f"remove from {name} what is {why}: it looks better than it is"
            yield Finding("leak", "warning", message, _places(shared), fix)
    both: dict[str, list[Example]] = defaultdict(list)
    for group in groups.values():
        for text, rows in group.items():
            both[text] += rows
    contradictory = [row for rows in both.values() if len({row.label for row in rows}) > 1 for row in rows]
    if contradictory:
        message = f"{len(contradictory):,} rows have a text that also occurs with another label"
        yield Finding(
            "two_labels", "warning", message, _places(contradictory), "decide on one label: no model can get both right"
        )


def _similar_labels(dataset: Dataset) -> Iterator[Finding]:
    counts = Counter(row.label for row in dataset.train)
    twins: dict[str, list[str]] = defaultdict(list)
    for label in dataset.labels:
        twins[_normalise_label(label)].append(label)
    for group in twins.values():
        if len(group) > 1:
            rarer = set(group) - {max(group, key=lambda label: counts[label])}
            named = (f"{label!r} ({counted(counts[label], 'row')})" for label in group)
            message = f"labels that look the same: {', '.join(named)}"
            rows = [row for row in dataset.train if row.label in rarer]
            yield Finding("twin_labels", "warning", message, _places(rows), "spell them the same if they mean the same")


def _leaking_labels(dataset: Dataset) -> Iterator[Finding]:
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
            yield Finding("label_in_text", "warning", message, _places(inside), fix)


def _imbalance(dataset: Dataset) -> Iterator[Finding]:
    counts = Counter(row.label for row in dataset.train).most_common()
    if len(counts) > 1 and counts[0][1] >= IMBALANCE * counts[-1][1]:
        (most, many), (least, few) = counts[0], counts[-1]
        message = f"labels are uneven: {most!r} has {many:,} training rows, {least!r} {few:,}"
        fix = "--set training.class_weights=balanced counts rare labels more; macro F1 shows how they fare"
        yield Finding("imbalance", "warning", message, (), fix)
