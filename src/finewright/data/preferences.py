"""Rows of preference data: a prompt with a chosen and a rejected answer, or with one answer and whether it is a good one."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finewright.core.config import DataConfig
from finewright.data import columns as column_names
from finewright.data.columns import Columns
from finewright.data.conversations import Conversation, Message, conversation_from_json, show_calls
from finewright.data.message_parsing import Fault, parse_json_cell, parse_messages, parse_tools, read_content
from finewright.data.readers.base import FileTable, Record, bad_file, combine_faults
from finewright.data.splits import Example

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
"""How a turn begins in a dialogue that is written as one text."""
_TRUE, _FALSE = ("true", "1", "1.0", "yes", "good"), ("false", "0", "0.0", "no", "bad")


@dataclass(frozen=True, slots=True)
class Preference(Example):
    """A row to tune a language model on.

    `text`: what a person sees of the prompt, its last user message. `label`: the chosen answer; of a judged answer this one.
    `prompt`, `chosen`, `rejected`: messages, of which those of the assistant in the answers are learnt. `good`: of an answer that
    was judged alone, whether it is wanted; then `chosen` holds it, and `rejected` is empty. `tools`: as in `Conversation`.
    """

    prompt: tuple[Message, ...] = ()
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    good: bool | None = None
    tools: tuple[Any, ...] = ()

    def duplicate_key(self) -> str:
        """Return the whole prompt."""
        return "\n".join(f"{one.role}: {one.content}" for one in self.prompt)

    def contents(self) -> str:
        """Return all that a model learns from the row, for the fingerprint of a run."""
        return self.as_json()

    def fingerprint_text(self, split: str) -> str:
        """Return all that the row adds to the fingerprint of its data set."""
        return f"{split}\0{self.as_json()}\n"

    def as_json(self) -> str:
        """Return the row as canonical JSON: everything but its place."""
        parts = {name: [one.as_json() for one in getattr(self, name)] for name in ("prompt", "chosen", "rejected")}
        values = {**parts, "good": self.good, "tools": list(self.tools)}
        return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)

    def as_conversation(self, answer: Sequence[Message]) -> Conversation:
        """Return the prompt with one of its answers; no message of the prompt is learnt."""
        prompt = (
            Message(one.role, one.content, one.tool_calls, one.name, one.tool_call_id, one.reasoning, is_trained=False)
            for one in self.prompt
        )
        return Conversation(self.text, show_answer(answer), self.where, messages=(*prompt, *answer), tools=self.tools)


def preference_from_json(text: str, *, where: str = "") -> Preference:
    """Return the row that `Preference.as_json` gave."""
    values = json.loads(text)
    parts = [
        conversation_from_json(json.dumps({"form": "chat", "messages": values[name]})).messages
        for name in ("prompt", "chosen", "rejected")
    ]
    return preference_of(*parts, where=where, good=values["good"], tools=tuple(values["tools"]))


def preference_of(
    prompt: tuple[Message, ...],
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...] = (),
    *,
    where: str,
    good: bool | None = None,
    tools: tuple[Any, ...] = (),
) -> Preference:
    """Return a row with its `text` and `label`."""
    asked = [one.content for one in prompt if one.role == "user"] or [one.content for one in prompt]
    return Preference(asked[-1] if asked else "", show_answer(chosen), where, prompt, chosen, rejected, good, tools)


def show_answer(answer: Sequence[Message]) -> str:
    """Return the messages of an answer as a person reads them."""
    return "\n".join(one.content or show_calls(one) for one in answer if one.role == "assistant")


@dataclass
class PreferenceRows:
    """The rows of one table. `columns`: those of the prompts and of the chosen answers, for the run's record."""

    rows: list[Preference]
    columns: Columns
    notes: list[str]


def read_preferences(table: FileTable, *, options: DataConfig, file: str) -> PreferenceRows:
    """Return the rows of a table with `chosen` and `rejected`, or with `prompt`, `completion` and `label`.

    Answers are texts or lists of messages. Without a prompt column the prompt is what both answers begin with.

    Raises
    ------
    UserError
        If the columns are not there, or rows have faults: it names file and row.
    """
    if not table.records:
        raise bad_file("no rows", file, "a header alone is not enough; add rows")

    def find(name: str) -> str:
        found = column_names.find_usual(table, [name], file=file)
        return found[0] if found else ""

    known = {name: find(name) for name in ("prompt", "chosen", "rejected", "completion", "label", "system", "tools")}
    if options.prompt_column is not None:
        known["prompt"] = options.prompt_column
    is_pair = bool(known["chosen"] and known["rejected"])
    if not is_pair and not (known["prompt"] and known["completion"] and known["label"]):
        listed = ", ".join(table.columns[:20])
        fix = "columns named `prompt`, `chosen` and `rejected`, or `prompt`, `completion` and `label`"
        raise bad_file(f"no columns of preferences; the columns are {listed}", file, fix)
    rows, faults = [], []
    for record in table.records:
        values = {part: record.values.get(name) for part, name in known.items() if name}
        try:
            rows.append(_read_pair(values, record, options) if is_pair else _read_judged(values, record, options))
        except Fault as fault:
            faults.append(f"{record.where}: {fault}")
    if faults and not options.skip_invalid_rows:
        raise combine_faults(faults, "correct these rows, or leave them out with --set data.skip_invalid_rows=true")
    kind = "pairs of a chosen and a rejected answer" if is_pair else "answers that were judged one by one"
    notes = [*table.notes, f"{file}: read as {kind}"]
    if faults:
        notes.append(f"{len(faults):,} rows dropped: {'; '.join(faults[:5])}")
    answer = known["chosen"] if is_pair else known["completion"]
    return PreferenceRows(rows, Columns(tuple(filter(None, [known["prompt"]])), answer), notes)


def _read_pair(values: dict[str, Any], record: Record, options: DataConfig) -> Preference:
    given = [parse_json_cell(values.get(name)) for name in ("chosen", "rejected")]
    prompt = _read_prompt(values.get("prompt"))
    if not prompt and all(isinstance(one, str) for one in given):
        prompt, answers = _split_texts(*given)
    else:
        chosen, rejected = (
            parse_messages(one, column=name, role="assistant") for one, name in zip(given, ("chosen", "rejected"), strict=True)
        )
        prompt, answers = _split_messages(prompt, chosen, rejected)
    for name, answer in zip(("chosen", "rejected"), answers, strict=True):
        _check_answer(answer, name)
    if answers[0] == answers[1]:
        raise Fault("the chosen and the rejected answer are the same")
    return _finish(prompt, *answers, values=values, record=record, options=options)


def _read_judged(values: dict[str, Any], record: Record, options: DataConfig) -> Preference:
    answer = parse_messages(values.get("completion"), column="completion", role="assistant")
    prompt, (answer, _) = _split_messages(_read_prompt(values.get("prompt")), answer, ())
    _check_answer(answer, "completion")
    label = str(values.get("label")).strip().casefold()
    if label not in (*_TRUE, *_FALSE):
        raise Fault(f"wanted true or false in the label, found {values.get('label')!r}")
    return _finish(prompt, answer, (), values=values, record=record, options=options, good=label in _TRUE)


def _finish(
    prompt: tuple[Message, ...],
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    *,
    values: dict[str, Any],
    record: Record,
    options: DataConfig,
    good: bool | None = None,
) -> Preference:
    system = read_content(values.get("system"), what="system prompt") or options.system_prompt or ""
    if system and not any(one.role == "system" for one in prompt):
        prompt = (Message("system", system), *prompt)
    if not any(one.content.strip() for one in prompt):
        raise Fault("the prompt is empty")
    return preference_of(prompt, chosen, rejected, where=record.where, good=good, tools=parse_tools(values.get("tools")))


def _read_prompt(value: Any) -> tuple[Message, ...]:
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return ()
    return parse_messages(value, column="prompt", role="user")


def _check_answer(answer: Sequence[Message], name: str) -> None:
    said = [one for one in answer if one.role == "assistant"]
    if not said or any(not one.content.strip() and not one.tool_calls for one in said):
        raise Fault(f"the {name} answer is empty")


def _split_messages(
    prompt: tuple[Message, ...], chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], tuple[Message, ...]]]:
    """Return the prompt and what each answer adds to it: an answer may repeat the prompt, or be the only place that has it."""
    if prompt:
        own = [answer[len(prompt) :] if answer[: len(prompt)] == prompt else answer for answer in (chosen, rejected)]
        return prompt, (own[0], own[1])
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    common = len(list(pairs))
    common = min(common, max(0, len(chosen) - 1), max(0, len(rejected) - 1))
    return chosen[:common], (chosen[common:], rejected[common:])


def _split_texts(chosen: str, rejected: str) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], tuple[Message, ...]]]:
    """Return the longest common start of two texts as the prompt, up to the end of a word, and what each adds.

    Dialogues that are written as one text become messages.
    """
    if all(_TURN.match(text) for text in (chosen, rejected)):
        return _split_messages((), tuple(_read_turns(chosen)), tuple(_read_turns(rejected)))
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    while same and not chosen[same - 1].isspace():
        same -= 1
    if not chosen[:same].strip():
        raise Fault("no prompt: the two answers have no common start")
    answers = tuple((Message("assistant", text[same:]),) for text in (chosen, rejected))
    return (Message("user", chosen[:same].rstrip()),), (answers[0], answers[1])


def _read_turns(text: str) -> Iterator[Message]:
    pieces = _TURN.split(text)
    for speaker, said in zip(pieces[1::2], pieces[2::2], strict=True):
        yield Message("user" if speaker == "Human" else "assistant", said.strip())
