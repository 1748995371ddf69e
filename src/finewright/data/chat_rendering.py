"""Conversations as text by a chat template, with the place of every answer in it."""

import contextlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from finewright.core.errors import ExitCode, UserError, first_line
from finewright.data.chat_templates import own_template
from finewright.data.conversations import Conversation, Message

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE = "Xyzzy"
"""An answer that no template changes."""
_TAIL = 20
"""Characters at the end of an answer that must be in its text."""

MaskSource = Literal["marks", "prefix", "turns"]
"""How answers are found: by the template's own marks, as what a turn adds to the text before it, or one sample for each turn."""


@dataclass(frozen=True)
class TurnEnd:
    """What a template writes after an answer. `kind`: one special token, other text, or nothing.

    `text` and `id`: of that token; `id` is None without one. `tail`: all that is written, without white space around it.
    """

    kind: Literal["token", "text", "none"]
    text: str = ""
    id: int | None = None
    tail: str = ""


@dataclass(frozen=True)
class RenderedAnswer:
    """An answer in its text. `start`, `end`: its first character and the one after its end of turn.

    `message`: its index among the messages that were rendered.
    """

    message: int
    start: int
    end: int


@dataclass(frozen=True)
class RenderedSample:
    """A text to learn from. `answers`: all that are in it, in order. `head`: the text before what the first message after the
    system prompt says: it stays when a prompt is cut. `joined`: the answer is tokenized apart from its prompt."""

    text: str
    answers: tuple[RenderedAnswer, ...]
    mask_source: MaskSource
    head: str
    joined: bool = False


class Renderer:
    """A tokenizer's chat template, with counts of what was done to rows so that it takes them.

    `counts`: by note, the places of the rows that it is about.
    """

    def __init__(self, tokenizer: Any) -> None:
        template = own_template(tokenizer)
        if template is None:
            fix = "--set data.chat_template=NAME, or a model with a chat template"
            raise UserError("the model has no chat template, and none can be given to its tokenizer", fix=fix)
        self.template = template
        self.has_marks = _MARKS.search(template) is not None
        self.counts: dict[str, set[str]] = {}
        self._names = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        self._where = ""
        self._rendered: tuple[Sequence[Message], str, list[tuple[int, int]]] = ((), "", [])
        self._in_parts = self._calls_as_text = False
        special: list[str] = sorted(filter(None, tokenizer.all_special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join([re.escape(one) for one in special])) if special else None
        self.turn_end = self._find_turn_end(tokenizer)

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), *, prompt: bool = False) -> str:
        """Return the text of messages; with `prompt` also what begins an answer."""
        return self._render(messages, tools, prompt=prompt)[0]

    def _render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, prompt: bool = False, marks: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        import jinja2
        from transformers.utils import chat_template_utils

        render: Any = chat_template_utils.render_jinja_template  # its annotation leaves out what it returns
        try:
            texts, places = render(
                conversations=[[self._for_template(one) for one in messages]],
                tools=[dict(one) for one in tools] or None,
                chat_template=self.template,
                return_assistant_tokens_mask=marks,
                add_generation_prompt=prompt,
                **self._names,
            )
        except (jinja2.exceptions.TemplateError, TypeError, KeyError, ValueError, AttributeError) as error:
            fix = "correct the order or the roles of its messages, or take another --set data.chat_template=NAME"
            what = f"the chat template does not take this row: {first_line(error)}"
            raise UserError(what, where=self._where, fix=fix, code=ExitCode.BAD_DATA) from None
        return texts[0], list(places[0]) if marks else []

    def _for_template(self, message: Message) -> dict[str, Any]:
        """Return a message as this template takes it."""
        found = message.for_template()
        if self._in_parts:
            found["content"] = [{"type": "text", "text": message.content}] if message.content else []
        if self._calls_as_text:
            for call in found.get("tool_calls", []):
                call["function"] = {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}
        return found

    def _render_probe(self) -> str:
        """Return a question with an answer; nothing if the template shows the answer neither as text nor in parts."""
        for self._in_parts in (False, True):
            with contextlib.suppress(UserError):
                text = self.render([Message("user", "Hi"), Message("assistant", _PROBE)])
                if _PROBE in text:
                    return text
        self._in_parts = False
        return ""

    def _find_turn_end(self, tokenizer: Any) -> TurnEnd:
        tail = self._render_probe().rpartition(_PROBE)[2]
        if not tail.strip():
            return TurnEnd("none")
        known = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        ids = tokenizer(tail, add_special_tokens=False, verbose=False)["input_ids"]
        first = next((place for place, token in enumerate(ids) if token in known), None)
        if first is None:
            return TurnEnd("text", tail=tail.strip())
        run = list(itertools.takewhile(lambda token: token in known, ids[first:]))  # the last of several is the end
        shown = tokenizer.convert_ids_to_tokens(run)
        before = tail.partition(shown[0])[0]
        return TurnEnd("text" if before.strip() else "token", shown[-1], run[-1], tail.strip())

    def _count(self, note: str) -> None:
        self.counts.setdefault(note, set()).add(self._where)

    def prepare(self, row: Conversation) -> tuple[Message, ...]:
        """Return the messages of a row in a form that the template takes: a system prompt goes into the first user message
        where the template has none.

        Raises
        ------
        UserError
            If the template refuses the row, or leaves out its calls of functions.
        """
        self._where = row.where
        messages = row.messages
        if any(one.tool_calls for one in messages) and "tool_calls" not in self.template:
            self._refuse("calls of functions")
        if any(one.role == "tool" for one in messages) and "tool" not in self.template:
            self._refuse("results of functions")
        if row.tools and "tools" not in self.template:
            self._count("the chat template does not show `tools`: the model sees nothing of them")
        if any(one.reasoning for one in messages) and not re.search("reasoning|thinking", self.template):
            self._count("the chat template does not show `reasoning_content`: it is not learnt")
        if found := self._special and next(filter(None, (self._special.search(one.content) for one in messages)), None):
            self._count(f"a message writes the special token {found[0]}: the model reads it as one")
        messages, text, marks = self._render_somehow(row)
        self._rendered = messages, text, marks
        if any(one.content.strip() not in text for one in messages if one.role != "assistant"):
            self._count("the chat template leaves out a message, or changes it")
        last = row.last_answer
        if last is not None and messages[-1].role == "assistant" and messages[-1].content.strip()[-_TAIL:] not in text:
            self._refuse("the answer: it leaves it out, or changes it")
        return messages

    def _render_somehow(self, row: Conversation) -> tuple[tuple[Message, ...], str, list[tuple[int, int]]]:
        """Return messages that the template takes, with their text and marks. Raise `UserError` if it takes them in no form."""
        self._calls_as_text = False
        fault: UserError | None = None
        merged = _merge_system(row.messages)
        has_calls = any(one.tool_calls for one in row.messages)
        for self._calls_as_text in (False, True) if has_calls else (False,):
            for messages in (row.messages, merged) if merged is not row.messages else (row.messages,):
                try:
                    text, marks = self._render(messages, row.tools, marks=self.has_marks)
                except UserError as error:
                    fault = fault or error
                    continue
                if messages is not row.messages:
                    self._count("the chat template takes no system message: it is put before the first user message")
                return messages, text, marks
        assert fault is not None
        raise fault

    def _refuse(self, what: str) -> None:
        fix = "leave these rows out, or take another model or --set data.chat_template=NAME"
        raise UserError(f"the chat template has no place for {what}", where=self._where, fix=fix, code=ExitCode.BAD_DATA)

    def prompt_of(self, messages: Sequence[Message], answer: int, tools: Sequence[Mapping[str, Any]], whole: str) -> str:
        """Return the text before an answer, which the model is given to write it.

        `answer`: its index; `whole`: the text up to its end. Where the generation prompt is no beginning of that text, what both
        have in common is.
        """
        prompt = self._prompt_alone(messages, answer, tools, whole)
        if whole.startswith(prompt):
            return prompt
        self._count("the chat template begins an answer otherwise than it writes it: what both have in common is the prompt")
        return _whole_tags(_common_prefix(prompt, whole))

    def _prompt_of_next(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """Return the text before an answer that is yet to come, as `prompt_of` gives it once it is there.

        It is the generation prompt where the template shows no answer after these messages: nobody trains on such rows.
        """
        prompt = self.render(messages, tools, prompt=True)
        try:
            whole = self.render([*messages, Message("assistant", _PROBE)], tools)
        except UserError:
            return prompt
        if _PROBE not in whole or messages[-1].content.strip() not in _common_prefix(prompt, whole):
            return prompt
        return self.prompt_of([*messages, Message("assistant", _PROBE)], len(messages), tools, whole)

    def _prompt_alone(self, messages: Sequence[Message], answer: int, tools: Sequence[Mapping[str, Any]], whole: str) -> str:
        """Return the generation prompt; before an answer that nothing precedes, what two different answers have in common."""
        if answer:
            return self.render(messages[:answer], tools, prompt=True)
        first = messages[0].content.lstrip()[:1]
        other = self.render([Message("assistant", "b" if first == "a" else "a")], tools)
        return _common_prefix(other, whole)

    def samples(self, row: Conversation, *, all_turns: bool) -> list[RenderedSample]:
        """Return the text of a conversation with the places of its answers, or one text for each answer where they cannot all be
        found in one.

        Parameters
        ----------
        all_turns
            Whether the text goes on after the last answer.
        """
        messages = self.prepare(row)
        places = [place for place, one in enumerate(messages) if one.role == "assistant"]
        if not places:
            return []
        shown = messages if all_turns else messages[: places[-1] + 1]
        head_of = _HeadFinder(row.messages)
        if self.turn_end.kind == "token" or len(places) == 1:
            _, text, marks = self._rendered
            if len(shown) < len(messages):
                text, marks = self._render(shown, row.tools, marks=self.has_marks)
            found = self._find_answers(shown, places, row.tools, text, marks)
            if found is not None:
                return [RenderedSample(text, *found, head_of(text))]
        if all_turns:
            return [RenderedSample(self._rendered[1], (), "prefix", head_of(self._rendered[1]))]
        return self.turns(row, messages, places)

    def turns(self, row: Conversation, messages: Sequence[Message], places: Sequence[int]) -> list[RenderedSample]:
        """Return one text for each answer, with all before it as its prompt."""
        self._where = row.where
        found, head_of = [], _HeadFinder(row.messages)
        for place in places:
            text = self.render(messages[: place + 1], row.tools)
            start = len(self.prompt_of(messages, place, row.tools, text))
            end = self._trim(text, start, len(text))
            found.append(RenderedSample(text[:end], (RenderedAnswer(place, start, end),), "turns", head_of(text), joined=True))
        return found

    def prompt(self, row: Conversation, *, after_all: bool = False) -> tuple[str, str]:
        """Return the text from which an answer to a row is generated, and the part of it that stays when it is cut.

        `after_all`: the answer comes after all messages, not in place of the last one.
        """
        messages = self.prepare(row)
        last = max((place for place, one in enumerate(messages) if one.role == "assistant"), default=None)
        if last is None or after_all:
            text = self._prompt_of_next(messages, row.tools)
        else:
            text = self.prompt_of(messages, last, row.tools, self.render(messages[: last + 1], row.tools))
        return text, _HeadFinder(row.messages)(text)

    def _find_answers(
        self,
        messages: Sequence[Message],
        places: Sequence[int],
        tools: Sequence[Mapping[str, Any]],
        text: str,
        marks: Sequence[tuple[int, int]],
    ) -> tuple[tuple[RenderedAnswer, ...], MaskSource] | None:
        """Return the place of every answer in the text of all messages, and how they were found; None if the text up to a turn
        is no beginning of it."""
        found = []
        marked = len(marks) == len(places)
        mask_source: MaskSource = "prefix"
        for number, place in enumerate(places):
            whole = text if place == len(messages) - 1 else self.render(messages[: place + 1], tools)
            prompt = self._prompt_alone(messages, place, tools, whole)
            start, end = len(prompt), self._trim(whole, len(prompt), len(whole))
            if not whole.startswith(prompt) or not text.startswith(whole[:end]):
                return None
            if marked:
                low, high = marks[number]
                if low < len(whole) and start < high <= len(whole):
                    start, mask_source = max(low, start), "marks"
                    end = self._trim(whole, start, self._with_turn_end(whole, high))
            found.append(RenderedAnswer(place, start, end))
        return tuple(found), mask_source

    def _trim(self, text: str, start: int, end: int) -> int:
        """Return the end of an answer without what follows its end of turn."""
        mark = self.turn_end.text if self.turn_end.kind == "token" else ""
        place = text.rfind(mark, start, end) if mark else -1
        return end if place < 0 else place + len(mark)

    def _with_turn_end(self, text: str, end: int) -> int:
        """Return the end of a marked answer with its end of turn, where the mark leaves it out."""
        mark = self.turn_end.text
        rest = text[end:]
        if mark and not text[:end].rstrip().endswith(mark) and rest.lstrip().startswith(mark):
            return end + rest.index(mark) + len(mark)
        return end


class _HeadFinder:
    """Finds what comes before the words of the first message after the system prompt. `messages`: those of the row itself."""

    def __init__(self, messages: Sequence[Message]) -> None:
        rest = list(itertools.dropwhile(lambda one: one.role == "system", messages))
        self._system = [one.content.strip() for one in messages[: len(messages) - len(rest)]]
        self._first = rest[0].content.strip() if rest else ""

    def __call__(self, text: str) -> str:
        place = 0
        for system in self._system:
            found = text.find(system, place)
            place = place if found < 0 else found + len(system)
        place = text.find(self._first, place) if self._first else place
        return text[: max(0, place)]


def _merge_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return messages with the system prompt at the start of the first user message; the same ones if there is none."""
    system = "\n\n".join(one.content for one in messages if one.role == "system")
    rest = [one for one in messages if one.role != "system"]
    if not system or not rest or rest[0].role != "user":
        return messages
    return (Message("user", f"{system}\n\n{rest[0].content}", name=rest[0].name), *rest[1:])


def _common_prefix(one: str, other: str) -> str:
    """Return what both texts begin with."""
    size = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:size]


def _whole_tags(text: str) -> str:
    """Return a text without a tag or special token that it ends inside of, such as `<thi`."""
    place = text.rfind("<")
    return text if place < 0 or ">" in text[place:] else text[:place]
