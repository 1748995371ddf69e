"""Messages of the usual chat formats, as one form; a fault of a row says what was wanted and what was found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from finewright.data.conversations import Message, Role

_SYNONYMS: dict[Role, tuple[str, ...]] = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard", "ai", "function_call", "tool_call"),
    "tool": ("tool", "observation", "tool_response", "function", "function_response"),
}
_ROLES = {name: role for role, names in _SYNONYMS.items() for name in names}
_CALL_ROLES = ("function_call", "tool_call")
_TRAINED_KEYS = ("train", "weight", "loss")
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_SHOWN = 60


class Fault(Exception):
    """What is wrong with a row; its place is added where the row is known."""


def parse_json_cell(value: Any) -> Any:
    """Return the list or object that a cell holds as JSON text; other values, and text that does not parse, as they are."""
    value = _as_lists(value)
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _as_lists(value: Any) -> Any:
    """Return arrays as lists, also inside of others: pandas gives them for lists of a Parquet file."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_as_lists(one) for one in value] if isinstance(value, list) else value


def read_content(value: Any, *, what: str) -> str:
    """Return the text of a cell or of a message: a string, a list of text parts, a number; empty for none."""
    value = _as_lists(value)
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(int(value) if float(value).is_integer() and abs(value) < 2**53 else value)
    if isinstance(value, list | tuple):
        return "".join(_read_part(part, what=what) for part in value)
    if not isinstance(value, str):
        raise Fault(f"wanted text in the {what}, found {type(value).__name__}")
    return _check_text(value, what=what)


def _check_text(value: str, *, what: str) -> str:
    """Return a text; raise `Fault` if it has characters that no tokenizer can take."""
    if "\x00" in value:
        raise Fault(f"a NUL character in the {what}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Fault(f"half of a surrogate pair: the {what} was cut inside a character") from None
    return str(value)


def _read_part(part: Any, *, what: str) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type", "text") in ("text", "output_text"):
        return _check_text(part["text"], what=what)
    kind = part.get("type", "an object") if isinstance(part, Mapping) else type(part).__name__
    raise Fault(f"wanted parts of type text in the {what}, found {kind}; pictures and sound are not read")


def is_message_list(value: Any) -> bool:
    """Return whether a cell is a list of messages, or JSON text of one: objects that all name a role."""
    parsed = parse_json_cell(value)
    return (
        isinstance(parsed, list | tuple)
        and bool(parsed)
        and all(isinstance(one, Mapping) and isinstance(one.get("role", one.get("from")), str) for one in parsed)
    )


def parse_messages(value: Any, *, column: str, role: Role | None = None) -> tuple[Message, ...]:
    """Return the messages of a row.

    Parameters
    ----------
    value
        A list of messages with `role` and `content`, or `from` and `value`; or JSON text of one. With `role`, a plain text too,
        which may be JSON of something else.
    role
        Whose message a plain text is; None if a list is wanted.

    Raises
    ------
    Fault
        If it is no such list, a role is unknown, or a tool call cannot be read.
    """
    if role is not None and isinstance(value, str) and not is_message_list(value):
        return (Message(role, read_content(value, what=column)),)
    parsed = parse_json_cell(value)
    if isinstance(parsed, Mapping) and isinstance(parsed.get("messages"), list):
        parsed = parsed["messages"]
    if isinstance(parsed, str) and parsed.lstrip()[:1] in ("[", "{"):
        raise Fault(f"{column!r} is no valid JSON: {_json_fault(parsed)}")
    if not isinstance(parsed, list | tuple):
        found = "nothing" if parsed is None else type(parsed).__name__
        raise Fault(f"wanted a list of messages in {column!r}, found {found}")
    if not parsed:
        raise Fault(f"no message in {column!r}")
    return _join_calls([_parse_message(one, number) for number, one in enumerate(parsed, start=1)])


def _json_fault(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    return ""


def _parse_message(value: Any, number: int) -> Message:
    if not isinstance(value, Mapping):
        raise Fault(f"message {number}: wanted an object with role and content, found {type(value).__name__}")
    said = value.get("role", value.get("from"))
    if not isinstance(said, str) or said.strip().casefold() not in _ROLES:
        shown = f"unknown role {said!r}" if said is not None else "no `role`"
        raise Fault(f"message {number}: {shown}; wanted system, user, assistant or tool")
    key = said.strip().casefold()
    given = value.get("content", value.get("value", value.get("text")))
    calls: tuple[Mapping[str, Any], ...] = ()
    if key in _CALL_ROLES:
        calls, content = parse_calls(given, number), ""
    else:
        content = read_content(given, what=f"content of message {number}")
        calls = parse_calls(value.get("tool_calls"), number)
        if (one := value.get("function_call")) is not None and not calls:
            calls = parse_calls([one], number)
    if given is None and not calls and _ROLES[key] != "assistant":
        raise Fault(f"message {number}: no `content`")
    reasoning = next((value[name] for name in _REASONING_KEYS if isinstance(value.get(name), str)), "")
    return Message(
        _ROLES[key],
        content,
        calls,
        name=_text(value.get("name"), what=f"name of message {number}"),
        tool_call_id=_text(value.get("tool_call_id"), what=f"tool_call_id of message {number}"),
        reasoning=_check_text(reasoning, what=f"reasoning of message {number}"),
        is_trained=_read_trained(value, number),
    )


def _text(value: Any, *, what: str) -> str:
    return "" if value is None else _check_text(str(value), what=what)


def _read_trained(value: Mapping[str, Any], number: int) -> bool | None:
    """Return whether a message says that it is learnt. A weight between 0 and 1 is refused: tokens are learnt or not."""
    key = next((name for name in _TRAINED_KEYS if value.get(name) is not None), "")
    if not key:
        return None
    given = value[key]
    if isinstance(given, bool):
        return given
    if isinstance(given, int | float) and given in (0, 1):
        return bool(given)
    if isinstance(given, str) and given.strip().casefold() in ("true", "false", "0", "1"):
        return given.strip().casefold() in ("true", "1")
    raise Fault(f"message {number}: wanted true or false in `{key}`, found {given!r}")


def parse_calls(value: Any, number: int) -> tuple[Mapping[str, Any], ...]:
    """Return tool calls in one form; arguments may be an object or JSON text of one."""
    parsed = parse_json_cell(value)
    if parsed is None or parsed == "":
        return ()
    parsed = [parsed] if isinstance(parsed, Mapping) else parsed
    if not isinstance(parsed, list | tuple):
        raise Fault(f"message {number}: wanted a list of tool calls, found {str(value)[:_SHOWN]!r}")
    return tuple(_parse_call(one, number) for one in parsed)


def _parse_call(value: Any, number: int) -> Mapping[str, Any]:
    value = parse_json_cell(value)
    function = value.get("function") if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping) else value
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Fault(f"message {number}: wanted a tool call with the name of a function, found {str(value)[:_SHOWN]!r}")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise Fault(f"message {number}: the arguments of {function['name']!r} are no valid JSON: {error}") from None
    elif isinstance(arguments, Mapping):  # a columnar file gives every call the arguments of all others, as null
        arguments = {name: one for name, one in arguments.items() if one is not None}
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise Fault(f"message {number}: wanted an object of arguments, found {type(arguments).__name__}")
    name = _check_text(function["name"], what=f"name of a function in message {number}")
    _check_values(arguments, what=f"arguments of {name!r} in message {number}")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    if value is function or not value.get("id"):
        return call
    return {"id": _text(value["id"], what=f"id of a call in message {number}"), **call}


def _check_values(value: Any, *, what: str) -> None:
    """Raise `Fault` if a text in a JSON value has characters that no tokenizer can take."""
    if isinstance(value, str):
        _check_text(value, what=what)
    elif isinstance(value, Mapping):
        for one in (*value, *value.values()):
            _check_values(one, what=what)
    elif isinstance(value, list | tuple):
        for one in value:
            _check_values(one, what=what)


def _join_calls(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages with calls that follow each other in one message, as they are one turn of the assistant."""
    joined: list[Message] = []
    for one in messages:
        before = joined[-1] if joined else None
        if before is not None and _is_one_turn(before, one):
            joined[-1] = replace(
                before,
                tool_calls=(*before.tool_calls, *one.tool_calls),
                name=before.name or one.name,
                tool_call_id=before.tool_call_id or one.tool_call_id,
                reasoning="\n\n".join(filter(None, (before.reasoning, one.reasoning))),
            )
        else:
            joined.append(one)
    return tuple(joined)


def _is_one_turn(before: Message, one: Message) -> bool:
    """Return whether a message only adds calls to the one before, and says nothing else of itself."""
    if not before.role == one.role == "assistant" or not before.tool_calls or not one.tool_calls or one.content:
        return False
    names = ((before.name, one.name), (before.tool_call_id, one.tool_call_id))
    return all(not first or not second or first == second for first, second in names)


def parse_tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Return the JSON schemas of the functions that may be called; none for an empty cell."""
    parsed = parse_json_cell(value)
    if parsed is None or parsed == "" or parsed != parsed:
        return ()
    parsed = [parsed] if isinstance(parsed, Mapping) else parsed
    tools = [parse_json_cell(one) for one in parsed] if isinstance(parsed, list | tuple) else []
    if not tools and parsed or any(not isinstance(one, Mapping) for one in tools):
        raise Fault(f"wanted a list of tools, found {str(value)[:_SHOWN]!r}")
    return tuple(one if "function" in one else {"type": "function", "function": dict(one)} for one in tools)
