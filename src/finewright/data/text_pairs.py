"""Pairs of texts that a model reads together: premise and hypothesis, question and passage, two sentences."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from finewright.data.splits import Example

SEPARATOR = "\n"
"""What stands between the two texts where a pair is one text: in tables, for duplicates, in a bag of words."""


class TextPair(NamedTuple):
    """Two texts that a model reads together, in this order. JSON has it as a list of two."""

    first: str
    second: str


TextInput = str | TextPair
"""What a model of texts reads: one text, or a pair."""


def input_of(example: Example) -> TextInput:
    """Return what a model reads of a row: its pair, or its text."""
    return example.text if example.pair is None else TextPair(*example.pair)


def as_input(value: Any) -> TextInput:
    """Return the input that JSON has: a string, or a list of two."""
    return value if isinstance(value, str) else TextPair(*value)


def joined_text(value: TextInput) -> str:
    """Return an input as one text, for people and for what needs one string."""
    return value if isinstance(value, str) else SEPARATOR.join(value)


def are_pairs(inputs: Sequence[TextInput]) -> bool:
    """Return whether inputs are pairs; all are, or none is."""
    found = {not isinstance(one, str) for one in inputs}
    assert len(found) < 2, "all inputs are pairs, or none is"  # a pair read as one text would be a wrong result without an error
    return True in found


def split_pairs(inputs: Iterable[TextInput]) -> tuple[list[str], list[str]]:
    """Return the first and the second texts of inputs that are pairs."""
    pairs = [TextPair(*one) for one in inputs if not isinstance(one, str)]
    return [pair.first for pair in pairs], [pair.second for pair in pairs]


def add_pairs(lines: Sequence[dict[str, Any]], rows: Sequence[Example]) -> list[dict[str, Any]]:
    """Return prediction lines with the `pair` of each row that is one; `lines` and `rows` belong together one by one."""
    if not any(row.pair is not None for row in rows):
        return list(lines)
    return [line if row.pair is None else {**line, "pair": list(row.pair)} for line, row in zip(lines, rows, strict=True)]
