"""Which columns of a table make a conversation, found by their names; every row becomes messages, a text or token ids."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from finewright.core.config import DataConfig
from finewright.data import columns as column_names
from finewright.data.answer_choices import LETTERS, possible_answers
from finewright.data.columns import Columns
from finewright.data.conversations import Conversation, Form, Message, conversation_of
from finewright.data.message_parsing import Fault, is_message_list, parse_json_cell, parse_messages, parse_tools, read_content
from finewright.data.readers.base import TEXT_NAMES, FileTable, Record, bad_file, drop_faulty_rows
from finewright.data.written_lists import parse_written_list

PROMPTS = ("prompt", "instruction", "question", "query", "input", "problem")
ANSWERS = ("completion", "response", "answer", "output", "target", "solution")
"""Usual names of the columns of prompts and of their answers, the first before all others."""
_CHATS = ("messages", "conversations", "conversation", "dialog", "dialogue")
_INPUTS = ("input", "context")
_CHOICES = ("choices", "options")
_HELLASWAG = ("ctx", "endings", "label")
"""Columns of the beginning of a text, the endings to choose from, and the number of the right one from 0 on."""
_IDS = ("input_ids", "token_ids")
_TRAINED = ("labels", "completion_mask", "assistant_masks", "loss_mask")
_MASKED = -100
"""The label of a token that is not learnt."""
SHAPE_NAMES = (*_CHATS, *PROMPTS, *ANSWERS, *_IDS, "text", "chosen", "rejected")
"""Names of columns by which a table is known to be one."""
_LISTED, _MOST_LISTED = 10, 20

RowKind = Literal["labelled", "multi-label", "number", "tagged-tokens", "conversation", "preference"]


@dataclass(frozen=True)
class Shape:
    """The columns of a kind of conversation by what they hold; those that are absent are not in `columns`."""

    form: Form
    columns: dict[str, str]
    said: str

    def value(self, record: Record, part: str) -> Any:
        """Return the cell of a row that holds this; None if there is no such column."""
        return record.values.get(self.columns[part]) if part in self.columns else None


@dataclass
class ConversationRows:
    """The conversations of one table. `columns`: those that hold the prompts and the answers, for the run's record."""

    rows: list[Conversation]
    columns: Columns
    notes: list[str] = field(default_factory=list)


def find_shape(table: FileTable, options: DataConfig, *, file: str) -> Shape | None:
    """Return the shape that the names of the columns tell; None if it is none of those that are known.

    Raises
    ------
    UserError
        If a column that the options name is not there.
    """
    finder = _Finder(table, file)
    if options.prompt_column is None and options.answer_column is None:
        given = options.text_column if isinstance(options.text_column, str) else next(iter(options.text_column or ()), None)
        if given is not None:
            return _shape("text", "texts", text=finder.named(given, "text"))
        if chat := finder.usual(_CHATS):
            more = {name: finder.usual([name]) for name in ("system", "tools", "choices")}
            return _shape("chat", f"chat data ({chat!r})", messages=chat, **more)
        if ids := finder.usual(_IDS):
            return _shape("tokens", f"token ids ({ids!r})", ids=ids, trained=finder.usual(_TRAINED))
        if all(parts := [finder.usual([name]) for name in _HELLASWAG]):
            said = f"beginnings with endings to choose from ({parts[0]!r}, {parts[1]!r})"
            return _shape("instruction", said, prompt=parts[0], choices=parts[1], answer=parts[2])
    return _find_instruction(finder, options) or _find_text(finder)


@dataclass(frozen=True)
class _Finder:
    """Finds columns of a table by name."""

    table: FileTable
    file: str

    def usual(self, names: Sequence[str], *, but: Sequence[str] = ()) -> str:
        """Return the first column that has one of these names and is none of the others; nothing without one."""
        found = [column_names.find_usual(self.table, [name], file=self.file) for name in names]
        return next((one[0] for one in found if one and one[0] not in but), "")

    def named(self, name: str | None, option: str) -> str:
        """Return the column that an option names; nothing if it names none. Raise `UserError` if it is not there."""
        if name is None:
            return ""
        if found := column_names.resolve_column(self.table, name, file=self.file):
            return found
        raise bad_file(
            f"no column {name!r}; the columns are {list_columns(self.table)}", self.file, f"--{option}-column NAME names another"
        )


def _shape(form: Form, said: str, **columns: str) -> Shape:
    return Shape(form, {part: name for part, name in columns.items() if name}, said)


def _find_instruction(finder: _Finder, options: DataConfig) -> Shape | None:
    prompt, answer = finder.named(options.prompt_column, "prompt"), finder.named(options.answer_column, "answer")
    prompt = prompt or finder.usual(PROMPTS, but=[answer])
    answer = answer or finder.usual(ANSWERS, but=[prompt])
    if prompt and answer:
        return _with_more(finder, f"prompts with answers ({prompt!r}, {answer!r})", prompt=prompt, answer=answer)
    if options.prompt_column is not None or options.answer_column is not None:
        missing = "answer" if prompt else "prompt"
        raise bad_file(
            f"no column of {missing}s; the columns are {list_columns(finder.table)}",
            finder.file,
            f"--{missing}-column NAME names it",
        )
    return None


def _with_more(finder: _Finder, said: str, **columns: str) -> Shape:
    """Return the shape of prompts in these columns, with what the others add to them."""
    more = {name: finder.usual([name], but=[*columns.values()]) for name in ("system", "history", "tools")}
    more |= {part: finder.usual(names, but=[*columns.values()]) for part, names in (("input", _INPUTS), ("choices", _CHOICES))}
    return _shape("instruction", said, **columns, **more)


def _find_text(finder: _Finder) -> Shape | None:
    text = finder.usual(["text"]) or (finder.usual(["content", "document", "body"]) if len(finder.table.columns) == 1 else "")
    return _shape("text", f"texts without prompts ({text!r})", text=text) if text else None


def read_conversations(
    table: FileTable, *, options: DataConfig, file: str, answers: bool = True, shape: Shape | None = None
) -> ConversationRows:
    """Return the rows of a table as conversations.

    Parameters
    ----------
    answers
        Whether every row must have an answer, as for training; prompts alone are enough to generate.
    shape
        Of the training rows; found by the names of the columns when it is None.

    Raises
    ------
    UserError
        If the columns are those of no known shape, or rows have faults: it names file and row.
    """
    if not table.records:
        raise bad_file("no rows", file, "a header alone is not enough; add rows")
    shape = shape or find_shape(table, options, file=file)
    if not answers and (shape is None or shape.form == "text"):
        shape = _prompts_alone(table, file=file) or shape
    if shape is None and not answers:
        raise bad_file(f"no column with prompts; the columns are {list_columns(table)}", file, "call it `prompt` or `messages`")
    if shape is None:
        fix = "--prompt-column NAME --answer-column NAME, or columns named `messages`, `prompt` and `completion`, or `text`"
        raise bad_file(f"no columns of conversations; the columns are {list_columns(table)}", file, fix)
    read = _READERS[shape.form]
    _check_counting(table, shape, file=file)
    rows, notes = collect_rows(
        table, options, lambda record: read(record, shape, options, answers), used=[*shape.columns.values()], file=file
    )
    notes.insert(len(table.notes), f"{file}: read as {shape.said}")
    asked = [shape.columns[part] for part in ("messages", "prompt", "input", "text", "ids") if part in shape.columns]
    return ConversationRows(rows, Columns(tuple(asked), shape.columns.get("answer", "")), notes)


T = TypeVar("T")


def collect_rows(
    table: FileTable, options: DataConfig, read: Callable[[Record], T], *, used: Sequence[str], file: str
) -> tuple[list[T], list[str]]:
    """Return what `read` makes of every record, and notes; `used`: the columns that it reads.

    Raises
    ------
    UserError
        With the place of every row that has a fault, unless the options leave these rows out.
    """
    rows: list[T] = []
    faults = []
    for record in table.records:
        try:
            rows.append(read(record))
        except Fault as fault:
            faults.append(f"{record.where}: {fault}")
    notes = [*table.notes, *drop_faulty_rows(faults, skip=options.skip_invalid_rows)]
    unused = [name for name in table.columns if name not in used]
    if unused:
        more = f" and {len(unused) - _LISTED:,} more" if len(unused) > _LISTED else ""
        notes.append(f"{file}: columns that are not used: {', '.join(unused[:_LISTED])}{more}")
    return rows, notes


def list_columns(table: FileTable) -> str:
    """Return the names of the first columns, for messages."""
    return ", ".join(table.columns[:_MOST_LISTED])


def as_prompt(row: Conversation, options: DataConfig) -> Conversation:
    """Return a plain text as the message of a user, for a model that talks; other rows as they are."""
    if row.form != "text":
        return row
    system = (Message("system", options.system_prompt),) if options.system_prompt else ()
    return conversation_of((*system, Message("user", row.text)), where=row.where, form="instruction")


def _prompts_alone(table: FileTable, *, file: str) -> Shape | None:
    """Return the shape of prompts without answers; None for a table of texts."""
    finder = _Finder(table, file)
    prompt = finder.usual(PROMPTS)
    if not prompt and not finder.usual(["text"]):
        prompt = finder.usual(TEXT_NAMES) or (table.columns[0] if len(table.columns) == 1 else "")
    return _with_more(finder, f"prompts ({prompt!r})", prompt=prompt) if prompt else None


def _read_chat(record: Record, shape: Shape, options: DataConfig, answers: bool) -> Conversation:
    messages = parse_messages(shape.value(record, "messages"), column=shape.columns["messages"])
    tools = parse_tools(shape.value(record, "tools"))
    system = read_content(shape.value(record, "system"), what="system prompt")
    return _with_choices(_finish(messages, record, options, answers, system=system, tools=tools), shape.value(record, "choices"))


def _with_choices(row: Conversation, value: Any) -> Conversation:
    """Return a row of messages with its choices, if it has some and its answer is one of them or its letter."""
    given = parse_json_cell(value)
    given = given.get("text") if isinstance(given, dict) else given
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        return row
    found = replace(row, choices=tuple(given))
    return found if possible_answers(found) else row


def _read_instruction(record: Record, shape: Shape, options: DataConfig, answers: bool) -> Conversation:
    prompt, answer = shape.value(record, "prompt"), shape.value(record, "answer")
    form: Form = "instruction"
    choices: tuple[str, ...] = ()
    if is_message_list(prompt) or is_message_list(answer):
        asked = parse_messages(prompt, column="prompt", role="user")
        messages = (*asked, *(parse_messages(answer, column="answer", role="assistant") if answer is not None else ()))
        form = "chat"
    else:
        text = "\n".join(filter(None, (read_content(shape.value(record, part), what=part) for part in ("prompt", "input"))))
        if not text.strip():
            raise Fault("the prompt is empty")
        given = read_content(answer, what="answer")
        if "choices" in shape.columns:
            choices, given = _read_choices(shape.value(record, "choices"), answer)
            text = "\n".join([text, *(f"{letter}. {one}" for letter, one in zip(LETTERS, choices, strict=False))])
        history = _read_history(shape.value(record, "history"))
        messages = (*history, Message("user", text), *((Message("assistant", given),) if given or answers else ()))
    system = read_content(shape.value(record, "system"), what="system prompt")
    tools = parse_tools(shape.value(record, "tools"))
    row = _finish(messages, record, options, answers, system=system, tools=tools, form=form, choices=choices)
    return _with_choices(row, shape.value(record, "choices")) if form == "chat" else row


def _read_history(value: Any) -> tuple[Message, ...]:
    """Return the earlier turns of `[[question, answer], …]`."""
    pairs = parse_json_cell(value)
    if pairs is None or (isinstance(pairs, str) and not pairs.strip()):
        return ()
    if not isinstance(pairs, list | tuple) or any(not isinstance(one, list | tuple) or len(one) != 2 for one in pairs):
        raise Fault(f"wanted `history` as [[question, answer], …], found {str(value)[:60]!r}")
    turns = itertools.chain.from_iterable(pairs)
    return tuple(
        Message("assistant" if place % 2 else "user", read_content(one, what="history")) for place, one in enumerate(turns)
    )


def _check_counting(table: FileTable, shape: Shape, *, file: str) -> None:
    """Raise `UserError` if answers are numbers of choices that seem to count from 1: then most would mean another choice."""
    if not {"choices", "answer"} <= shape.columns.keys():
        return
    numbers, is_past_end = [], False
    for record in table.records:
        said = str(shape.value(record, "answer")).strip()
        if not said.isdigit():
            continue
        with contextlib.suppress(Fault):
            choices, marks = _parse_choices(shape.value(record, "choices"))
            if said not in choices and said not in marks[: len(choices)]:
                numbers.append(int(said))
                is_past_end |= int(said) == len(choices)
    if is_past_end and 0 not in numbers:
        what = f"{shape.columns['answer']!r} has numbers of choices of which none is 0, but some the number of choices"
        fix = "numbers count from 0: subtract 1 from them all, or write letters or the answers themselves"
        raise bad_file(what, file, fix)


def _parse_choices(value: Any) -> tuple[tuple[str, ...], list[str]]:
    """Return the answers to choose from, and what each is called."""
    given = parse_json_cell(value)
    given = parse_written_list(given) if isinstance(given, str) else given
    marks: list[str] = list(LETTERS)
    if isinstance(given, dict):
        marks, given = [str(one) for one in given.get("label", marks)], given.get("text")
    if not isinstance(given, list | tuple) or not given:
        raise Fault(f"wanted a list of choices, found {str(value)[:60]!r}")
    return tuple(read_content(one, what="choice") for one in given), marks


def _read_choices(value: Any, answer: Any) -> tuple[tuple[str, ...], str]:
    """Return the answers to choose from, and the right one: it is given by its text, letter, or number from 0 on."""
    choices, marks = _parse_choices(value)
    if answer is None or answer == "":
        return choices, ""
    said = str(answer).strip()
    if said in choices:
        return choices, said
    if said in marks[: len(choices)]:
        return choices, choices[marks.index(said)]
    if said.isdigit() and int(said) < len(choices):
        return choices, choices[int(said)]
    raise Fault(f"the answer {said!r} is none of the {len(choices)} choices, nor a letter or number of one, from 0 on")


def _finish(
    messages: Sequence[Message],
    record: Record,
    options: DataConfig,
    answers: bool,
    *,
    system: str = "",
    tools: tuple[Any, ...] = (),
    form: Form = "chat",
    choices: tuple[str, ...] = (),
) -> Conversation:
    """Return the row; raise `Fault` if it has no answer to learn, or an empty one."""
    system = system or options.system_prompt or ""
    if system and not any(one.role == "system" for one in messages):
        messages = (Message("system", system), *messages)
    said = [one for one in messages if one.role == "assistant"]
    if answers and not said:
        raise Fault("no assistant message, so nothing to learn")
    if answers and any(not one.content.strip() and not one.tool_calls and one.is_trained is not False for one in said):
        raise Fault("the answer is empty")
    if not answers and not messages:
        raise Fault("no message")
    return conversation_of(tuple(messages), where=record.where, tools=tools, form=form, choices=choices)


def _read_text(record: Record, shape: Shape, options: DataConfig, answers: bool) -> Conversation:
    text = read_content(shape.value(record, "text"), what="text")
    if not text.strip():
        raise Fault("the text is empty")
    return Conversation(text, "", record.where, form="text")


def _read_tokens(record: Record, shape: Shape, options: DataConfig, answers: bool) -> Conversation:
    ids = _whole_numbers(shape.value(record, "ids"), what=shape.columns["ids"])
    if min(ids, default=0) < 0:
        raise Fault("a negative token id")
    trained = [True] * len(ids)
    if "trained" in shape.columns:
        name = shape.columns["trained"]
        marks = _whole_numbers(shape.value(record, "trained"), what=name)
        if len(marks) != len(ids):
            raise Fault(f"{len(ids):,} token ids, but {len(marks):,} values of {name!r}")
        if name.casefold() == "labels":
            trained = [mark != _MASKED for mark in marks]
            if any(mark not in (_MASKED, token) for mark, token in zip(marks, ids, strict=True)):
                raise Fault("`labels` differ from `input_ids`: wanted the token itself, or -100 where it is not learnt")
        else:
            if {*marks} - {0, 1}:
                raise Fault(f"wanted 0 or 1 in {name!r}")
            trained = [bool(mark) for mark in marks]
    if answers and not any(trained[1:]):
        raise Fault("no token to learn")
    trained[:1] = [False] * len(trained[:1])
    return Conversation(f"({len(ids):,} token ids)", "", record.where, form="tokens", ids=tuple(ids), trained=tuple(trained))


def _whole_numbers(value: Any, *, what: str) -> list[int]:
    given = parse_json_cell(value)
    if not isinstance(given, list | tuple) or not given or any(not isinstance(one, int) for one in given):
        raise Fault(f"wanted a list of whole numbers in {what!r}, found {str(value)[:60]!r}")
    return [int(one) for one in given]


_READERS: dict[Form, Callable[[Record, Shape, DataConfig, bool], Conversation]] = {
    "chat": _read_chat,
    "instruction": _read_instruction,
    "text": _read_text,
    "tokens": _read_tokens,
}
