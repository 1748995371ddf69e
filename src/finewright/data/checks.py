"""Faults of texts, whatever the task, as findings: errors that stop a run, warnings that are saved and shown."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data.dataset import Dataset
from finewright.data.samples import EncodedConversations
from finewright.data.splits import Example, find_possible_duplicates, normalise_text
from finewright.data.tokenization import TokenRows

MOST_ROWS = 50
HELD_OUT = ("validation", "test")
MOST_UNKNOWN = 0.2
"""Share of unknown tokens above which texts are probably of another language than the model's."""
_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """`rows`: where each row concerned is. `forcible`: an error that may be what the user wants, so that a forced run goes on."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    rows: tuple[str, ...]
    fix: str
    forcible: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the finding as in checks.json."""
        values = asdict(self)
        del values["forcible"]
        return values


def check_texts(dataset: Dataset) -> list[Finding]:
    """Return what is worth knowing of the texts before training, whatever the task, errors first."""
    splits = splits_of(dataset)
    found = [*find_no_training(dataset, fix="add training rows")]
    for name in HELD_OUT:
        found += find_empty(dataset, name)
    found += find_duplicates(splits, group_repeated_texts(splits))
    return sorted(found, key=lambda finding: finding.severity)


def splits_of(dataset: Dataset) -> dict[str, list[Example]]:
    """Return the rows by split."""
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}


def find_no_training(dataset: Dataset, *, fix: str) -> Iterator[Finding]:
    """Find out whether there are training rows."""
    if not dataset.train:
        yield Finding("no_train", "error", "no training rows", (), fix)


def find_empty(dataset: Dataset, name: str) -> Iterator[Finding]:
    """Find out whether a split has rows to measure on. Where all of few rows are trained on, a note says so already."""
    if not splits_of(dataset)[name] and not (name == "validation" and dataset.trains_on_all):
        fix = f"add {name} rows: without them nothing can be measured on {name}"
        yield Finding(f"no_{name}", "warning", f"no {name} rows", (), fix)


def check_truncation(
    lengths: Sequence[int], *, limit: int, side: Literal["right", "left"], places: Sequence[str], are_pairs: bool = False
) -> list[Finding]:
    """Find texts, or pairs of texts, that are cut to `limit` tokens or have no token.

    `lengths`: before cutting. `side`: where they are cut.
    """
    cut = tuple(place for length, place in zip(lengths, places, strict=True) if length > limit)
    none = tuple(place for length, place in zip(lengths, places, strict=True) if length == 0)
    found = []
    if none:
        message = "1 text has no token: nothing of it" if len(none) == 1 else f"{len(none)} texts have no token: nothing of them"
        message += " would reach the model"
        found.append(Finding("no_tokens", "error", message, none, "correct these rows, or another tokenizer"))
    if cut:
        file = places[0].split(":")[0]
        noun = "pair" if are_pairs else "text"
        share = f"{len(cut):,} of {counted(len(lengths), noun)} ({len(cut) / len(lengths):.1%})"
        message = f"{file}: {share} {'is' if len(cut) == 1 else 'are'} longer than {limit} tokens"
        end, other = ("the end", "left") if side == "right" else ("the start", "right")
        end = f"{end} of the longer text" if are_pairs else end
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


def check_tokens(
    tokenizer: Any, ids: Sequence[Sequence[int]] | TokenRows, rows: Sequence[Example], *, name: str
) -> list[Finding]:
    """Find texts that the tokenizer does not know, and texts that begin with the token that it adds itself.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer; read for its special tokens only.
    ids
        The token ids of each row of the split, special ones included.
    rows
        The rows of the split.
    name
        The split, for the message.
    """
    known = isinstance(ids, TokenRows)
    lengths = ids.lengths if known else np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    if not lengths.sum():
        return []
    flat = ids.flat if known else np.concatenate([np.asarray(one) for one in ids])
    found = _find_doubled_start(tokenizer, flat, lengths, rows, name=name)
    if (unknown := _unknown_id(tokenizer)) is None:
        return found
    shown = f"unknown to this tokenizer ({tokenizer.convert_ids_to_tokens(unknown)})"
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    plain = ~np.isin(flat, [one for one in tokenizer.all_special_ids if one != unknown])
    num_plain = np.bincount(row_of[plain], minlength=len(lengths))
    num_unknown = np.bincount(row_of[flat == unknown], minlength=len(lengths))
    share = num_unknown.sum() / max(1, num_plain.sum())
    shares = num_unknown / np.maximum(1, num_plain)
    fix = "take a model for the language and script of the texts, such as a multilingual one"
    if share > MOST_UNKNOWN:
        message = f"{share:.0%} of the tokens of the {name} texts are {shown}"
        message += ": the model would see nothing of them" if share == 1 else ": the model sees nothing of those words"
        worst = np.argsort(-shares, kind="stable")
        examples = places_of([rows[index] for index in worst[shares[worst] > MOST_UNKNOWN][:_EXAMPLES]])
        found.append(Finding("unknown_tokens", "error" if share == 1 else "warning", message, examples, fix))
    elif (shares == 1).any():
        alike = [rows[index] for index in np.flatnonzero(shares == 1).tolist()]
        have = "text has" if len(alike) == 1 else "texts have"
        message = f"{len(alike):,} {name} {have} only tokens that are {shown}"
        found.append(Finding("unknown_texts", "warning", message, places_of(alike), f"remove them, or {fix}"))
    return found


def check_samples(encoded: EncodedConversations, rows: Sequence[Example], *, name: str, limit: int) -> list[Finding]:
    """Find conversations of a split that were left out as they are too long, or of which nothing is learnt.

    Parameters
    ----------
    encoded
        The samples of these rows.
    name
        The split, for the messages.
    limit
        Most tokens of a sample.
    """
    found = []
    if encoded.over_long:
        share = f"{len(encoded.over_long):,} of {counted(len(rows), f'{name} row')} ({len(encoded.over_long) / len(rows):.1%})"
        message = f"{share} {'is' if len(encoded.over_long) == 1 else 'are'} longer than {limit:,} tokens and left out"
        fix = f"--set data.max_length={encoded.longest} takes the longest; --set data.over_long=cut-prompt cuts prompts"
        found.append(Finding("over_long", "warning", message, places_of([rows[index] for index in encoded.over_long]), fix))
    if encoded.without_target:
        message = f"of {counted(len(encoded.without_target), f'{name} row')} no token is learnt"
        places = places_of([rows[index] for index in encoded.without_target])
        found.append(Finding("no_target", "warning", message, places, "remove these rows, or let their answers be learnt"))
    return found


def _unknown_id(tokenizer: Any) -> int | None:
    """Return the id of unknown tokens; None if there is none, or if it also begins, ends or fills texts."""
    other = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id", "mask_token_id")
    unknown = getattr(tokenizer, "unk_token_id", None)
    return None if unknown in [getattr(tokenizer, name, None) for name in other] else unknown


def _find_doubled_start(
    tokenizer: Any, flat: np.ndarray, lengths: np.ndarray, rows: Sequence[Example], *, name: str
) -> list[Finding]:
    """Find texts that begin twice with the token that begins every text. `flat`: ids of all texts, (T,); `lengths`: (N,)."""
    filled = np.flatnonzero(lengths)
    starts = (np.cumsum(lengths) - lengths)[filled]
    begin = int(flat[starts[0]])
    if begin not in (tokenizer.bos_token_id, tokenizer.cls_token_id) or (flat[starts] != begin).any():
        return []  # the tokenizer adds none: a text has what is written in it
    long = lengths[filled] > 1
    twice = filled[long][flat[starts[long] + 1] == begin]
    if not len(twice):
        return []
    token = tokenizer.convert_ids_to_tokens(begin)
    texts = "text begins" if len(twice) == 1 else "texts begin"
    message = f"{len(twice):,} {name} {texts} with {token!r}, which the tokenizer adds too: the model reads it twice"
    places = places_of([rows[index] for index in twice])
    return [Finding("doubled_start", "warning", message, places, f"remove {token!r} from the texts")]


def apply_force(findings: Sequence[Finding], *, force: bool) -> list[Finding]:
    """Return the findings, of a forced run with a warning in place of every error that may be what the user wants."""
    return [replace(one, severity="warning") if force and one.forcible else one for one in findings]


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


def places_of(rows: Sequence[Example]) -> tuple[str, ...]:
    """Return where each row is."""
    return tuple(row.where for row in rows)


def _group_by_text(rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Group rows by their text, case and white space aside."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        groups[normalise_text(row.duplicate_key())].append(row)
    return groups


def group_repeated_texts(splits: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, list[Example]]]:
    """Return, by split, the rows whose text may occur again in any split, by their text, case and white space aside."""
    places = find_possible_duplicates([[row.duplicate_key() for row in rows] for rows in splits.values()])
    return {name: _group_by_text([splits[name][place] for place in some]) for name, some in zip(splits, places, strict=True)}


def _repeating(rows: Sequence[Example]) -> list[Example]:
    """Return the rows of one text that repeat another one. A prompt may have several answers: only an equal answer repeats it."""
    if type(rows[0]) is Example:
        return list(rows[1:])
    seen: set[str] = set()
    return [row for row in rows if row.label in seen or seen.add(row.label)]


def find_duplicates(
    splits: Mapping[str, Sequence[Example]], groups: Mapping[str, Mapping[str, Sequence[Example]]]
) -> Iterator[Finding]:
    """Find texts that repeat within a split or occur in two. `groups`: from `group_repeated_texts`."""
    for name, group in groups.items():
        again = [row for rows in group.values() for row in _repeating(rows)]
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
