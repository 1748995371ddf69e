"""Rows of language-model data: conversations, prompts with answers, plain texts, token ids."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from finewright.data.splits import Example

Role = Literal["system", "user", "assistant", "tool"]
Form = Literal["chat", "instruction", "text", "tokens"]
"""What a row is: messages, a prompt with its answer, one text without a prompt, or token ids."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    `tool_calls`: in the form `{"type": "function", "function": {"name": …, "arguments": {…}}}`, with `id` if it has one.
    `reasoning`: what an assistant thought before its answer, where it is kept apart. `is_trained`: whether the row itself says
    that these tokens are learnt or not; None if it does not.
    """

    role: Role
    content: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    name: str = ""
    tool_call_id: str = ""
    reasoning: str = ""
    is_trained: bool | None = None

    def for_template(self) -> dict[str, Any]:
        """Return the message as chat templates take it."""
        found: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            found["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.name:
            found["name"] = self.name
        if self.tool_call_id:
            found["tool_call_id"] = self.tool_call_id
        if self.reasoning:
            found["reasoning_content"] = self.reasoning
        return found

    def as_json(self) -> dict[str, Any]:
        """Return all that is known of the message."""
        found = self.for_template()
        return found if self.is_trained is None else {**found, "train": self.is_trained}


@dataclass(frozen=True, slots=True)
class Conversation(Example):
    """A row to train a language model on.

    `text`: what a person sees of the prompt, the last user message before the last answer; the whole text of a plain one.
    `label`: the reference answer, the last assistant message; empty for a plain text. `tools`: JSON schemas of the functions that
    the assistant may call. `choices`: the possible answers of a multiple-choice question. `ids` and `trained`: of a row that is
    tokenized already, its tokens and whether each of them is learnt.
    """

    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    form: Form = "chat"
    choices: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    trained: tuple[bool, ...] = ()

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last answer; all of them without an answer."""
        last = self.last_answer
        return self.messages if last is None else self.messages[:last]

    @property
    def last_answer(self) -> int | None:
        """The index of the last assistant message; None if there is none."""
        return max((place for place, one in enumerate(self.messages) if one.role == "assistant"), default=None)

    def own_labels(self) -> tuple[str, ...]:
        """Return none: answers are no labels."""
        return ()

    def duplicate_key(self) -> str:
        """Return the whole prompt: a short last message, such as `go on`, does not make two conversations the same."""
        if self.form == "text":
            return self.text
        if self.form == "tokens":
            return " ".join(map(str, self.ids))
        return "\n".join(f"{one.role}: {one.content}" for one in self.prompt)

    def contents(self) -> str:
        """Return all that a model learns from the row, for the fingerprint of a run."""
        return self.as_json()

    def fingerprint_text(self, split: str) -> str:
        """Return all that the row adds to the fingerprint of its data set."""
        return f"{split}\0{self.as_json()}\n"

    def as_json(self) -> str:
        """Return the row as canonical JSON: every message, tool, choice and token; not its place."""
        values: dict[str, Any] = {"form": self.form}
        if self.form == "text":
            values["text"] = self.text
        if self.messages:
            values["messages"] = [one.as_json() for one in self.messages]
        if self.tools:
            values["tools"] = list(self.tools)
        if self.choices:
            values["choices"] = self.choices
        if self.ids:
            values |= {"ids": self.ids, "trained": [int(one) for one in self.trained]}
        return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def conversation_from_json(text: str, *, where: str = "") -> Conversation:
    """Return the row that `Conversation.as_json` gave."""
    values = json.loads(text)
    messages = tuple(_message_from_json(one) for one in values.get("messages", ()))
    more = {"tools": tuple(values.get("tools", ())), "choices": tuple(values.get("choices", ())), "form": values["form"]}
    if values["form"] == "text":
        return Conversation(values["text"], "", where, form="text")
    if values["form"] == "tokens":
        ids, trained = tuple(values["ids"]), tuple(map(bool, values["trained"]))
        return Conversation("", "", where, ids=ids, trained=trained, form="tokens")
    return conversation_of(messages, where=where, **more)


def _message_from_json(values: Mapping[str, Any]) -> Message:
    name, call = values.get("name", ""), values.get("tool_call_id", "")
    calls = tuple(values.get("tool_calls", ()))
    return Message(
        values["role"],
        values["content"],
        calls,
        name,
        call,
        reasoning=values.get("reasoning_content", ""),
        is_trained=values.get("train"),
    )


def conversation_of(messages: tuple[Message, ...], *, where: str, **more: Any) -> Conversation:
    """Return a conversation of these messages with its `text` and `label`."""
    last = max((place for place, one in enumerate(messages) if one.role == "assistant"), default=len(messages))
    asked = [one.content for one in messages[:last] if one.role == "user"] or [one.content for one in messages[:last]]
    answer = messages[last] if last < len(messages) else None
    label = "" if answer is None else answer.content or show_calls(answer)
    return Conversation(asked[-1] if asked else "", label, where, messages, **more)


def without_answer(row: Conversation) -> Conversation:
    """Return the prompt of a row, without the answer that it ends in; the same row if it ends in none."""
    if len(row.messages) < 2 or row.messages[-1].role != "assistant":
        return row
    return replace(row, messages=row.messages[:-1], label="")


def show_calls(message: Message) -> str:
    """Return the tool calls of a message as a person reads them."""
    return "\n".join(json.dumps(call.get("function", call), ensure_ascii=False, default=str) for call in message.tool_calls)
