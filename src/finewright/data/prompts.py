"""Prompts of a file: one text a line, or rows with the column `prompt` or `messages`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset
from finewright.data.readers import base
from finewright.data.readers.base import FileFormat, FileTable, Record

PROMPT_COLUMNS = ("prompt", "messages", "instruction", "question", "input", "text")
"""Names of columns that hold prompts; the first one that a table has is taken."""

Prompt = str | list[dict[str, Any]]
"""A text, or a list of messages, each with `role` and `content`."""


@dataclass(frozen=True)
class PromptRows:
    """Rows with a prompt each."""

    prompts: list[Prompt]
    table: FileTable
    notes: list[str] = field(default_factory=list)


def read_prompts(source: str | Path) -> PromptRows:
    """Return the prompts of a file, or of standard input for `-`.

    Messages may be a list, or text that is the JSON of one; a last message that is an answer is left out. Raise `UserError`
    with the row if one has no prompt, or the file has none of the columns.
    """
    path = dataset.find_existing(source)
    name = dataset.shown_name(path)
    table = dataset.read_table(source, text_names=PROMPT_COLUMNS)
    if not table.records:
        raise base.bad_file("no rows", name, "a header alone is not enough; add rows")
    known = {one.casefold(): one for one in table.columns}
    columns = [known[one] for one in PROMPT_COLUMNS if one in known] or [*table.columns][: len(table.columns) == 1]
    if not columns:
        what = f"no column with prompts; the columns are {', '.join(table.columns)}"
        raise UserError(what, where=name, fix="call the column `prompt` or `messages`", code=ExitCode.BAD_DATA)
    prompts, num_answered = [], 0
    for record in table.records:
        column = next((one for one in columns if record.values.get(one) not in (None, "")), columns[0])
        prompt = _read_prompt(record.values.get(column), record.where, as_messages=column.casefold() == "messages")
        if (
            isinstance(prompt, list)
            and len(prompt) > 1
            and isinstance(prompt[-1], dict)
            and prompt[-1].get("role") == "assistant"
        ):
            prompt, num_answered = prompt[:-1], num_answered + 1
        prompts.append(prompt)
    rows = "1 row ends" if num_answered == 1 else f"{num_answered:,} rows end"
    notes = [f"{name}: {rows} in an answer, which is left out of the prompt"] if num_answered else []
    return PromptRows(prompts, table, [*table.notes, *notes])


def as_rows(texts: Sequence[str]) -> PromptRows:
    """Return prompts that were given one by one."""
    records = [Record(f"prompt {number}", {"prompt": text}) for number, text in enumerate(texts, start=1)]
    for record in records:
        _read_prompt(record.values["prompt"], record.where, as_messages=False)
    return PromptRows(list(texts), FileTable(records, ("prompt",), FileFormat(".txt"), header=("prompt",)))


def _read_prompt(value: Any, where: str, *, as_messages: bool) -> Prompt:
    if as_messages and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            what = f"wanted messages as JSON, found {value[:60]!r}"
            raise UserError(what, where=where, fix='[{"role": "user", "content": "…"}]', code=ExitCode.BAD_DATA) from None
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or dataset.is_blank(value):
        found = "nothing" if value is None or value == "" or isinstance(value, str) else type(value).__name__
        raise UserError(
            f"wanted a prompt, found {found}", where=where, fix="fill it in, or leave the row out", code=ExitCode.BAD_DATA
        )
    return value
