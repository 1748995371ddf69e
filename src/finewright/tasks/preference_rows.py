"""Rows of preferences as token ids: the prompt with each of its answers is a text of its own.

Shape suffixes: N rows, P texts of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.units import counted
from finewright.data import chat_encoding
from finewright.data.checks import Finding
from finewright.data.conversations import Conversation
from finewright.data.preferences import Preference
from finewright.data.samples import Sample, cut_prompt
from finewright.data.tokenization import TokenRows

if TYPE_CHECKING:
    from finewright.data.packing import EncodedSplit


@dataclass(frozen=True)
class EncodedPreferences:
    """The rows that are used as `split`, and what is said of those that are left out. `example`: the first text in pieces, each
    with whether it is learnt."""

    split: "EncodedSplit"
    rows: list[Preference]
    findings: list[Finding]
    notes: list[str]
    example: list[tuple[str, bool]]


def divide_pairs(rows: Sequence[Preference]) -> list[Preference]:
    """Return answers that are judged one by one: of a pair the chosen one is wanted and the rejected one is not."""
    found = []
    for row in rows:
        if row.is_pair:
            found.append(replace(row, rejected=()))
            found.append(replace(row, chosen=(), label=row.conversation(row.rejected).label))
        else:
            found.append(row)
    return found


def encode_preferences(
    tokenizer: Any, rows: Sequence[Preference], *, limit: int, data: DataConfig, name: str, adds_mismatched: bool = False
) -> EncodedPreferences:
    """Return the tokens of rows that are all pairs, or all judged one by one.

    A row is left out if one of its texts is longer than `limit` and may not be cut, or nothing of an answer is learnt. Where
    prompts are cut, both texts of a pair lose the same tokens. `adds_mismatched`: a second text of each row is set aside, its
    prompt with the answer of another row, for the divergence from the untrained model.
    """
    options = data.model_copy(update={"trained_tokens": "answers"})
    wanted = [[row.conversation(answer) for answer in row.answers] for row in rows]
    samples, notes = chat_encoding.encode_samples(tokenizer, [one for some in wanted for one in some], options=options)
    by_text: list[list[Sample]] = [[] for some in wanted for _ in some]
    for sample in samples:
        by_text[sample.row].append(sample)
    taken: list[tuple[int, list[Sample]]] = []
    over_long, without, longest, num_cut, start = [], [], 0, 0, 0
    for number, some in enumerate(wanted):
        texts = by_text[start : start + len(some)]
        start += len(some)
        if any(len(one) != 1 or not any(one[0].trained) for one in texts):
            without.append(number)
            continue
        own = [one[0] for one in texts]
        longest = max(longest, *(len(one.ids) for one in own))
        excess = max(len(one.ids) for one in own) - limit
        if excess > 0:
            if data.over_long == "drop" or not _cut_alike(own, excess):
                over_long.append(number)
                continue
            num_cut += 1
        taken.append((number, own))
    findings = _describe(rows, over_long, without, longest=longest, num_cut=num_cut, name=name, limit=limit)
    used = [rows[number] for number, _ in taken]
    if rows and not used and name == "train":
        where = rows[0].where.rpartition(":")[0]
        raise UserError(f"no row is left: {findings[0].message}", where=where, fix=findings[0].fix, code=ExitCode.BAD_DATA)
    texts = [own for _, own in taken]
    if adds_mismatched:
        others = _encode_mismatched(tokenizer, used, limit=limit, options=options)
        texts = [[*own, other] for own, other in zip(texts, others, strict=True)]
    example = chat_encoding.show_trained_tokens(tokenizer, texts[0][0].ids, texts[0][0].trained) if texts else []
    return EncodedPreferences(_as_split(texts, used, num_aside=int(adds_mismatched)), used, findings, notes, example)


def _cut_alike(samples: Sequence[Sample], excess: int) -> bool:
    """Cut so many tokens off the prompts of the texts of a row; return whether that is possible for all."""
    cut = [replace(one, ids=[*one.ids], trained=[*one.trained]) for one in samples]
    if not all(cut_prompt(one, len(one.ids) - excess) for one in cut):
        return False
    for one, made in zip(samples, cut, strict=True):
        one.ids, one.trained = made.ids, made.trained
    return True


def _encode_mismatched(tokenizer: Any, rows: Sequence[Preference], *, limit: int, options: DataConfig) -> list[Sample]:
    """Return for each row its prompt with the answer of the next row that has another prompt; too long ones lose their end."""
    keys, num_rows = [row.duplicate_key() for row in rows], len(rows)
    is_mixed = len({*keys}) > 1
    mixed: list[Conversation] = []
    for number, row in enumerate(rows):
        later = ((number + step) % num_rows for step in range(1, num_rows + 1))
        other = next(one for one in later if keys[one] != keys[number] or not is_mixed)
        mixed.append(row.conversation(rows[other].answers[0]))
    samples, _ = chat_encoding.encode_samples(tokenizer, mixed, options=options)
    found: dict[int, Sample] = {}
    for sample in samples:
        found[sample.row] = sample
    made = []
    for number in range(len(rows)):
        sample = found[number]
        if len(sample.ids) > limit and not cut_prompt(sample, limit):
            first = sample.trained.index(True)
            start = max(0, min(first - 1, len(sample.ids) - limit))  # at least one token of the answer stays
            sample.ids, sample.trained = sample.ids[start : start + limit], sample.trained[start : start + limit]
            sample.trained[:1] = [False]
        made.append(sample)
    return made


def _as_split(texts: Sequence[Sequence[Sample]], rows: Sequence[Preference], *, num_aside: int) -> "EncodedSplit":
    from finewright.data.packing import EncodedSplit

    num_texts = len(texts[0]) if texts else 1
    parts = np.array([[len(one.ids) for one in own] for own in texts], dtype=np.int64).reshape(-1, num_texts)
    flat = np.concatenate([np.zeros(0, np.int32), *(np.array(one.ids, np.int32) for own in texts for one in own)])
    trained = np.concatenate([np.zeros(0, bool), *(np.array(one.trained, bool) for own in texts for one in own)])
    lengths = parts.sum(axis=1).astype(np.int32)
    targets = [int(row.is_wanted) for row in rows]
    ids = TokenRows(flat, lengths)
    longest = parts.max(axis=1, initial=0).tolist()  # the limit is that of one text; `_describe` says which prompts were cut
    return EncodedSplit(ids, longest, targets, trained=TokenRows(trained, lengths), parts=parts, num_aside=num_aside)


def _describe(
    rows: Sequence[Preference],
    over_long: Sequence[int],
    without: Sequence[int],
    *,
    longest: int,
    num_cut: int,
    name: str,
    limit: int,
) -> list[Finding]:
    """Return which rows are left out or cut, and why."""
    found = []
    if over_long:
        are = "is" if len(over_long) == 1 else "are"
        what = (
            f"{len(over_long):,} of {len(rows):,} {name} rows {are} left out: a prompt with its answer is longer than {limit:,} "
        )
        fix = f"--max-length {longest} keeps all, --set data.over_long=cut-prompt cuts the oldest part of their prompts"
        places = tuple(rows[row].where for row in over_long)
        found.append(Finding("over_long", "warning", f"{what}tokens, the longest has {longest:,}", places, fix))
    if without:
        are = "is" if len(without) == 1 else "are"
        what = f"{len(without):,} of {len(rows):,} {name} rows {are} left out: no one text of the chat template holds the answer"
        places = tuple(rows[row].where for row in without)
        found.append(Finding("untrained", "warning", what, places, "give them an answer of one message"))
    if num_cut:
        prompts = counted(num_cut, f"{name} prompt is", f"{name} prompts are")
        what = f"{prompts} cut so that {limit:,} tokens hold the answer too: the oldest part is left out"
        found.append(Finding("truncated", "warning", what, (), "--max-length keeps more"))
    return found
