"""Rows of preference data: a prompt with a better and a worse answer, or with one answer that is good or bad."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from finewright.core.config import DataConfig
from finewright.data import columns as column_names
from finewright.data.columns import Columns
from finewright.data.conversation_shapes import ANSWERS, PROMPTS, collect_rows, list_columns
from finewright.data.conversations import Conversation, Message, conversation_from_json, conversation_of
from finewright.data.message_parsing import Fault, is_message_list, parse_json_cell, parse_messages, parse_tools, read_content
from finewright.data.readers.base import FileTable, Record, bad_file
from finewright.data.splits import Example

_CHOSEN = ("chosen", "chosen_response")
_REJECTED = ("rejected", "rejected_response", "rejected_messages")
_VERDICTS = ("kto_tag", "label")
"""A column of the first name is nothing else; `label` may be."""
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_DIALOGUE = re.compile(r"\s*(Human|Assistant):\s?")
"""Who speaks, in dialogues that are one text."""


@dataclass(frozen=True, slots=True)
class Preference(Example):
    """A prompt with its answers. `text` and `label`: as of a conversation with the better one, or the only one.

    `chosen`, `rejected`: what follows the prompt, such as one assistant message; one of them is empty where a row has one answer
    that is good or bad.
    """

    prompt: tuple[Message, ...] = ()
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_pair(self) -> bool:
        """Whether the row has a better and a worse answer."""
        return bool(self.chosen and self.rejected)

    @property
    def is_wanted(self) -> bool:
        """Whether the row has a better answer, or its only one is good."""
        return bool(self.chosen)

    @property
    def answers(self) -> tuple[tuple[Message, ...], ...]:
        """The better and the worse answer, or the only one."""
        return tuple(one for one in (self.chosen, self.rejected) if one)

    def conversation(self, answer: tuple[Message, ...]) -> Conversation:
        """Return the prompt with one of its answers, to encode it; no message of the prompt is learnt."""
        prompt = (replace(one, is_trained=False) for one in self.prompt)
        return conversation_of((*prompt, *answer), where=self.where, tools=self.tools)

    def own_labels(self) -> tuple[str, ...]:
        """Return none: answers are no labels."""
        return ()

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
        """Return the row as canonical JSON: every message and tool; not its place."""
        parts = {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}
        values: dict[str, Any] = {name: [one.as_json() for one in messages] for name, messages in parts.items()}
        values |= {"tools": list(self.tools)} if self.tools else {}
        return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def preference_from_json(text: str, *, where: str = "") -> Preference:
    """Return the row that `Preference.as_json` gave."""
    values = json.loads(text)
    prompt, chosen, rejected = (
        conversation_from_json(json.dumps({"form": "chat", "messages": values[name]})).messages
        for name in ("prompt", "chosen", "rejected")
    )
    shown = conversation_of((*prompt, *(chosen or rejected)), where=where)
    return Preference(shown.text, shown.label, where, prompt, chosen, rejected, tuple(values.get("tools", ())))


@dataclass
class PreferenceRows:
    """The preferences of one table. `columns`: those of the prompt and of the answers, for the run's record."""

    rows: list[Preference]
    columns: Columns
    notes: list[str] = field(default_factory=list)


def read_preferences(table: FileTable, *, options: DataConfig, file: str) -> PreferenceRows:
    """Return the rows of a table as preferences.

    Known are `chosen` and `rejected`, as texts or lists of messages, with a prompt or with a common beginning; `messages` with
    `rejected`; and a prompt with an answer and a `label` that says whether it is good.

    Raises
    ------
    UserError
        If the columns are none of those, or rows have faults: it names file and row.
    """
    if not table.records:
        raise bad_file("no rows", file, "a header alone is not enough; add rows")

    def usual(names: Sequence[str]) -> str:
        found = [column_names.find_usual(table, [name], file=file) for name in names]
        return next((one[0] for one in found if one), "")

    parts = {"messages": usual(["messages", "conversations"]), "system": usual(["system"]), "tools": usual(["tools"])}
    parts |= {"chosen": usual(_CHOSEN), "rejected": usual(_REJECTED), "verdict": usual(_VERDICTS)}
    parts |= {"prompt": options.prompt_column or usual(PROMPTS), "answer": options.answer_column or usual(ANSWERS)}
    columns = {part: name for part, name in parts.items() if name}
    read, used = _choose_reader(columns)
    if read is None:
        fix = "columns named `prompt`, `chosen` and `rejected`, or `prompt`, `completion` and `label`"
        raise bad_file(f"no columns of preferences; the columns are {list_columns(table)}", file, fix)
    used = (*used, "system", "tools")
    kept = {part: name for part, name in columns.items() if part in used}
    rows, notes = collect_rows(table, options, lambda record: read(record, kept, options), used=[*kept.values()], file=file)
    asked = tuple(kept[part] for part in ("messages", "prompt") if part in kept)
    return PreferenceRows(rows, Columns(asked, kept.get("chosen", kept.get("answer", ""))), notes)


_Reader = Callable[[Record, dict[str, str], DataConfig], Preference]


def _choose_reader(columns: Mapping[str, str]) -> tuple[_Reader | None, tuple[str, ...]]:
    """Return what reads rows with these columns, and the parts that it uses; None if they are no preferences."""
    if "chosen" in columns and "rejected" in columns:
        return _read_pair, ("prompt", "chosen", "rejected")
    if "messages" in columns and "rejected" in columns:
        return _read_other_answer, ("messages", "rejected")
    if "verdict" in columns and "prompt" in columns and "answer" in columns:
        return _read_verdict, ("prompt", "answer", "verdict")
    if "verdict" in columns and "messages" in columns:
        return _read_verdict, ("messages", "verdict")
    return None, ()


def _read_pair(record: Record, columns: dict[str, str], options: DataConfig) -> Preference:
    given = [record.values.get(columns[part]) for part in ("chosen", "rejected")]
    chosen, rejected = (parse_json_cell(one) if is_message_list(one) else one for one in given)
    asked = record.values.get(columns["prompt"]) if "prompt" in columns else None
    if isinstance(chosen, str) and isinstance(rejected, str) and (asked is None or asked == ""):
        prompt, good, bad = _part_texts(chosen, rejected)
        return _finish(record, columns, options, prompt, good, bad)
    good = parse_messages(chosen, column=columns["chosen"], role="assistant")
    bad = parse_messages(rejected, column=columns["rejected"], role="assistant")
    if all(one[0].role in ("user", "system") for one in (good, bad)):  # the lists have the prompt too
        prompt, good, bad = _part_messages(good, bad)
    elif asked is None or asked == "":
        raise Fault("no prompt: neither a column, nor a beginning that both answers have in common")
    else:
        prompt = parse_messages(asked, column=columns["prompt"], role="user")
    return _finish(record, columns, options, prompt, good, bad)


def _part_messages(good: tuple[Message, ...], bad: tuple[Message, ...]) -> tuple[tuple[Message, ...], ...]:
    """Return (prompt, better, worse) of two conversations: the prompt is what both begin with."""
    most = min(len(good), len(bad)) - 1
    size = next((place for place in range(most) if good[place] != bad[place]), most)
    if size == 0:
        raise Fault("chosen and rejected have no first message in common")
    return good[:size], good[size:], bad[size:]


def _part_texts(chosen: str, rejected: str) -> tuple[tuple[Message, ...], ...]:
    """Return (prompt, better, worse) of two texts: a dialogue of `Human:` and `Assistant:`, or a common beginning."""
    if all(_DIALOGUE.match(one) for one in (chosen, rejected)):
        return _part_messages(_parse_dialogue(chosen), _parse_dialogue(rejected))
    pairs = enumerate(zip(chosen, rejected, strict=False))
    size = next((place for place, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))
    while size and not chosen[size - 1].isspace():
        size -= 1  # no word is parted
    if not chosen[:size].strip():
        raise Fault("no prompt: neither a column, nor a beginning that both answers have in common")
    prompt = (Message("user", read_content(chosen[:size].strip(), what="prompt")),)
    good, bad = ((Message("assistant", read_content(one[size:], what="answer")),) for one in (chosen, rejected))
    return prompt, good, bad


def _parse_dialogue(text: str) -> tuple[Message, ...]:
    """Return the turns of a dialogue that is one text, each of which begins a paragraph."""
    turns = re.split(r"(?:^|\n\n)\s*(Human|Assistant):\s?", text)[1:]
    said = zip(turns[::2], turns[1::2], strict=True)
    return tuple(Message("user" if who == "Human" else "assistant", what.strip()) for who, what in said)


def _read_other_answer(record: Record, columns: dict[str, str], options: DataConfig) -> Preference:
    messages = parse_messages(record.values.get(columns["messages"]), column=columns["messages"])
    bad = parse_messages(record.values.get(columns["rejected"]), column=columns["rejected"], role="assistant")
    if bad[0].role in ("user", "system"):
        return _finish(record, columns, options, *_part_messages(messages, bad))
    last = max((place for place, one in enumerate(messages) if one.role == "assistant"), default=-1)
    if last < 1:
        raise Fault("no assistant message after a prompt")
    return _finish(record, columns, options, messages[:last], messages[last : last + 1], bad)


def _read_verdict(record: Record, columns: dict[str, str], options: DataConfig) -> Preference:
    said = record.values.get(columns["verdict"])
    good = _TRUTH.get(str(said).strip().casefold())
    if good is None:
        raise Fault(f"wanted true or false in {columns['verdict']!r}, found {said!r}")
    if "messages" in columns:
        messages = parse_messages(record.values.get(columns["messages"]), column=columns["messages"])
        prompt, answer = messages[:-1], messages[-1:]
        if not prompt or answer[0].role != "assistant":
            raise Fault("the last message is none of the assistant's after a prompt")
    else:
        prompt = parse_messages(record.values.get(columns["prompt"]), column=columns["prompt"], role="user")
        answer = parse_messages(record.values.get(columns["answer"]), column=columns["answer"], role="assistant")
    return _finish(record, columns, options, prompt, answer if good else (), () if good else answer)


def _finish(
    record: Record,
    columns: dict[str, str],
    options: DataConfig,
    prompt: tuple[Message, ...],
    good: tuple[Message, ...],
    bad: tuple[Message, ...],
) -> Preference:
    """Return the row; raise `Fault` if a part of it is empty, or both answers are the same."""
    if not any(one.content.strip() for one in prompt):
        raise Fault("the prompt is empty")
    for name, answer in (("chosen", good), ("rejected", bad)):
        if answer and answer[-1].role != "assistant":
            raise Fault(f"the {name} answer does not end with an assistant message")
        if answer and not any(one.content.strip() or one.tool_calls for one in answer):
            raise Fault(f"the {name} answer is empty")
    if good == bad:
        raise Fault("the chosen and the rejected answer are the same")
    system = read_content(record.values.get(columns.get("system", "")), what="system prompt") or options.system_prompt or ""
    if system and not any(one.role == "system" for one in prompt):
        prompt = (Message("system", system), *prompt)
    tools = parse_tools(record.values.get(columns.get("tools", "")))
    shown = conversation_of((*prompt, *(good or bad)), where=record.where)
    return Preference(shown.text, shown.label, record.where, prompt, good, bad, tools)
