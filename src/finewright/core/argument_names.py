"""Errors that name the arguments of Python where Python called, and flags where the program runs.

Messages are written with the flags of the program. The functions that a user calls from Python name its arguments instead.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import get_args

from finewright.core.errors import UserError

_program_runs: ContextVar[bool] = ContextVar("program_runs", default=False)
_ARGUMENTS = {
    "--abstain": "abstain",
    "--base": "base",
    "--budget": "memory_budget",
    "--else": "otherwise",
    "--force": "force=True",
    "--jobs": "jobs",
    "--max-new-tokens": "max_new_tokens",
    "--method": "method",
    "--methods": "methods",
    "--min-confidence": "min_confidence",
    "--model": "model",
    "--num": "num",
    "--num-generated": "num_generated",
    "--num-labels": "num_labels",
    "--out": "output_dir",
    "--probabilities": "probabilities=True",
    "--raw": "raw=True",
    "--repetition-penalty": "repetition_penalty",
    "--schema": "json_schema",
    "--search": "search_trials",
    "--seed": "seed",
    "--seeds": "seeds",
    "--stop": "stop",
    "--system": "system",
    "--temperature": "temperature",
    "--test": "test",
    "--top-k": "top_k",
    "--top-p": "top_p",
    "--train-sizes": "train_sizes",
    "-o": "output",
}
"""Flags and the arguments that mean the same; a flag of an option is found in its declaration."""
_NOT_ARGUMENTS = frozenset(
    {"--again", "--change", "--give-up", "--help", "--name", "--port", "--resume", "--trust", "--version"},
)
"""Flags that messages name and that stay as they are: of commands without a function for Python, or told with a command."""
_KEPT = r"`[^`]*`|finewright [a-z]+ [^;\n]*|(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)\"[^\"\n]*\"(?!\w)"
"""Commands, and what is quoted: a name or a value of the user's may look like a flag. An apostrophe quotes nothing."""
_ASSIGNMENT = r"--set '?(?P<option>[\w.]+)=(?P<assigned>[^\s,;)']+(?:[^,;)\n']*(?='))?)'?"
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_WORD_FLAGS = ("else", "encoding", "format", "label-column", "text-column")
"""Flags whose value may be any word. A word is one where the clause ends behind it, or its verb follows; else it is prose."""
_BEHIND_WORD_FLAG = "|".join(rf"(?<=--{name} )" for name in _WORD_FLAGS)
_WORD = rf"(?:{_BEHIND_WORD_FLAG})(?!(?:and|or)\b)\w(?:[\w./-]*\w)?(?=\.?(?:$|\n)|[,;)]| \(| --| learns | joins )"
_FLAG = (
    r"(?<![\w-])(?P<flag>--[a-z][a-z-]*[a-z]|-o)(?![\w-])"
    rf"(?: (?P<value>[A-Z]+\b|{_NUMBER}[A-Za-z]*(?!\w)|'[^'\n]*'|(?<=--model )[\w./-]+|(?<=--method )[\w-]+|{_WORD}))?"
)
_CAPITALS = re.compile("[A-Z]+")
_PARTS = re.compile(f"(?P<kept>{_KEPT})|{_ASSIGNMENT}|{_FLAG}")


@contextmanager
def program_running() -> Iterator[None]:
    """Around the program: errors name its flags."""
    token = _program_runs.set(True)
    try:
        yield
    finally:
        _program_runs.reset(token)


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Around a function for Python, as a decorator: its errors name arguments in place of flags."""
    try:
        yield
    except UserError as error:
        if not _program_runs.get():
            error.where, error.what, error.fix = map(name_arguments, (error.where, error.what, error.fix))
            error.args = (error.what,)
        raise


def name_arguments(text: str) -> str:
    """Return text with arguments in place of flags; commands stay as they are."""
    if "-" not in text:
        return text
    return _PARTS.sub(_rename, text)


def is_known(flag: str) -> bool:
    """Return whether a message for Python can name this flag: as an argument, an option, or as it is."""
    return flag in _ARGUMENTS or flag in _NOT_ARGUMENTS or bool(_option_of(flag))


def _rename(found: re.Match[str]) -> str:
    if found["kept"]:
        return found[0]
    if found["option"]:
        return _as_option(found["option"], found["assigned"])
    flag, value = found["flag"], (found["value"] or "").strip("'")
    if dotted := _option_of(flag):
        return _as_option(dotted, value, is_text=not _is_number(dotted)) if value else dotted
    if flag not in _ARGUMENTS:
        return found[0]
    name = _ARGUMENTS[flag]
    if not value:
        return name
    return f"{name} {value}" if "=" in name else f"{name}={value if _is_plain(value) else repr(value)}"


def _as_option(dotted: str, value: str, *, is_text: bool = False) -> str:
    literal = json.dumps(value, ensure_ascii=False) if is_text and not _CAPITALS.fullmatch(value) else _as_literal(value)
    return f'options={{"{dotted}": {literal}}}'


def _is_number(dotted: str) -> bool:
    from finewright.core.config import RunConfig, find_field

    kind = find_field(RunConfig, dotted).annotation
    return bool({int, float} & {kind, *get_args(kind)})


def _as_literal(value: str) -> str:
    """Return a value as Python writes it; capitals alone stand for a value."""
    if value in ("true", "false"):
        return value.capitalize()
    return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)


def _is_plain(value: str) -> bool:
    return bool(_CAPITALS.fullmatch(value) or re.fullmatch(_NUMBER, value))


def _option_of(flag: str) -> str:
    """Return the dotted name of the option that has a flag of its own; empty if none has."""
    from finewright.core.config import RunConfig, describe_options, find_field

    if flag in _ARGUMENTS:
        return ""
    for dotted, _, _ in describe_options(RunConfig):
        extra = find_field(RunConfig, dotted).json_schema_extra
        if isinstance(extra, dict) and extra["flag"] == flag:
            return dotted
    return ""
