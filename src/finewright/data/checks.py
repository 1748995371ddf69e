"""Faults of texts, whatever the task, as findings: errors that stop a run, warnings that are saved and shown."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from finewright.core.errors import ExitCode, UserError
from finewright.data.dataset import Dataset
from finewright.data.splits import Example, find_possible_duplicates, normalise_text

MOST_ROWS = 50
HELD_OUT = ("validation", "test")


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


def check_texts(dataset: Dataset) -> list[Finding]:
    """Return what is worth knowing of the texts before training, whatever the task, errors first."""
    splits = splits_of(dataset)
    found = [*find_no_training(dataset, fix="add training rows")]
    for name in HELD_OUT:
        found += find_empty(name, splits[name])
    found += find_duplicates(splits, group_repeated_texts(splits))
    return sorted(found, key=lambda finding: finding.severity)


def splits_of(dataset: Dataset) -> dict[str, list[Example]]:
    """Return the rows by split."""
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}


def find_no_training(dataset: Dataset, *, fix: str) -> Iterator[Finding]:
    """Find out whether there are training rows."""
    if not dataset.train:
        yield Finding("no_train", "error", "no training rows", (), fix)


def find_empty(name: str, rows: Sequence[Example]) -> Iterator[Finding]:
    """Find out whether a split has rows to measure on."""
    if not rows:
        yield Finding(f"no_{name}", "warning", f"no {name} rows", (), f"nothing can be measured on {name}")


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
    return [Finding("alike", "error", message, places_of(rows[:1]), "another tokenizer, or a longer data.max_length")]


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


def places_of(rows: Sequence[Example]) -> tuple[str, ...]:
    """Return where each row is."""
    return tuple(row.where for row in rows)


def _group_by_text(rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Group rows by their text, case and white space aside."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        groups[normalise_text(row.text)].append(row)
    return groups


def group_repeated_texts(splits: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, list[Example]]]:
    """Return, by split, the rows whose text may occur again in any split, by their text, case and white space aside."""
    places = find_possible_duplicates([[row.text for row in rows] for rows in splits.values()])
    return {name: _group_by_text([splits[name][place] for place in some]) for name, some in zip(splits, places, strict=True)}


def find_duplicates(
    splits: Mapping[str, Sequence[Example]], groups: Mapping[str, Mapping[str, Sequence[Example]]]
) -> Iterator[Finding]:
    """Find texts that repeat within a split or occur in two. `groups`: from `group_repeated_texts`."""
    for name, group in groups.items():
        again = [row for rows in group.values() for row in rows[1:]]
        if again:
            repeat = f"{counted(len(again), 'row')} of {name} {'repeats' if len(again) == 1 else 'repeat'}"
            message = f"{repeat} a text of the same split (case and spaces aside)"
            yield Finding("duplicates", "warning", message, places_of(again), "remove what repeats: it counts twice")
    for source, name in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = [row for text, rows in groups[name].items() if text in groups[source] for row in rows]
        if shared:
            share = f"{counted(len(shared), f'{name} row')} ({len(shared) / len(splits[name]):.1%})"
            message = f"{share} {'has' if len(shared) == 1 else 'have'} a text that is also in {source}"
            why = "memorised" if source == "train" else "already used to choose the best step"
            fix = f"remove from {name} what is {why}: it looks better than it is"
            yield Finding("leak", "warning", message, places_of(shared), fix)
