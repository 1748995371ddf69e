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
    "--base": "base",
    "--budget": "memory_budget",
    "--else": "otherwise",
    "--force": "force=True",
    "--jobs": "jobs",
    "--method": "method",
    "--methods": "methods",
    "--min-confidence": "min_confidence",
    "--model": "model",
    "--num-labels": "num_labels",
    "--out": "output_dir",
    "--search": "search_trials",
    "--seed": "seed",
    "--seeds": "seeds",
    "--test": "test",
    "--top-k": "top_k",
    "--train-sizes": "train_sizes",
    "-o": "output",
}
"""Flags and the arguments that mean the same; a flag of an option is found in its declaration."""
_COMMAND = re.compile(r"(`[^`]*`|finewright [a-z]+ [^;\n]*)")
_ASSIGNMENT = re.compile(r"--set '?([\w.]+)=([^\s,;)']+(?:[^,;)\n']*(?='))?)'?")
_FLAG = re.compile(
    r"(?<![\w-])(--[a-z][a-z-]*[a-z]|-o)(?: ([A-Z]+\b|\d[\d.]*\b)| (?<=--model )([\w./-]+)| (?<=--method )([\w-]+))?"
)


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
    parts = _COMMAND.split(text)
    return "".join(part if number % 2 else _name_in_text(part) for number, part in enumerate(parts))


def _name_in_text(text: str) -> str:
    text = _ASSIGNMENT.sub(lambda found: _as_option(found[1], found[2]), text)
    return _FLAG.sub(_as_argument, text)


def _as_argument(found: re.Match[str]) -> str:
    flag, value = found[1], found[2] or found[3] or found[4]
    if dotted := _option_of(flag):
        return _as_option(dotted, value, is_text=not _is_number(dotted)) if value else dotted
    if flag not in _ARGUMENTS:
        return found[0]
    name = _ARGUMENTS[flag]
    return f"{name}={_as_literal(value)}" if value and "=" not in name else f"{name} {value}" if value else name


def _as_option(dotted: str, value: str, *, is_text: bool = False) -> str:
    literal = json.dumps(value) if is_text and not value.isupper() else _as_literal(value)
    return f'options={{"{dotted}": {literal}}}'


def _is_number(dotted: str) -> bool:
    from finewright.core.config import RunConfig, find_field

    kind = find_field(RunConfig, dotted).annotation
    return bool({int, float} & {kind, *get_args(kind)})


def _as_literal(value: str) -> str:
    """Return a value as Python writes it; capitals alone stand for a value."""
    if value in ("true", "false"):
        return value.capitalize()
    return value if value.isupper() or re.fullmatch(r"\d[\d.]*", value) else json.dumps(value, ensure_ascii=False)


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
