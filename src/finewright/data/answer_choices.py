"""The answers that a multiple-choice question can be given, as the model would say each of them."""

import re
from collections.abc import Sequence

from finewright.data.conversations import Conversation

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LISTED = re.compile(r"^[ \t]*(?P<mark>\(?(?P<letter>[A-Z])[).:]) *(?P<text>\S.*?)[ \t]*$", re.MULTILINE)
"""A line of a prompt that lists a choice: `A. Paris`, `A) Paris`, `(A) Paris` or `A: Paris`."""
_LETTER = re.compile(r"(?P<before>\(?)(?P<letter>[A-Z])(?P<after>[).:]*)")


def possible_answers(row: Conversation) -> tuple[str, ...]:
    """Return the answers that the row can be given, its own among them; nothing for a row that is no multiple-choice question.

    They are the choices that the row has, or those that its last question lists by letters from A on. They have the form of the
    row's own answer: the texts, the letters, or lines such as `B. Paris`.
    """
    answer = row.label.strip()
    if not answer or row.last_answer is None or row.messages[row.last_answer].tool_calls:
        return ()
    if row.choices:
        return _in_form(answer, row.choices, [f"{letter}. {text}" for letter, text in zip(LETTERS, row.choices, strict=False)])
    listed = _read_listed(row.text)
    return _in_form(answer, [text for _, text in listed], [line for line, _ in listed])


def _in_form(answer: str, texts: Sequence[str], lines: Sequence[str]) -> tuple[str, ...]:
    """Return the choices in the form of the answer; nothing if it is none of them, or there is nothing to choose."""
    for some in (texts, lines):
        if answer in (one.strip() for one in some):
            return _different(some)
    letter = _LETTER.fullmatch(answer)
    if letter is not None and letter["letter"] in LETTERS[: len(texts)]:
        return _different([f"{letter['before']}{one}{letter['after']}" for one in LETTERS[: len(texts)]])
    return ()


def _different(some: Sequence[str]) -> tuple[str, ...]:
    """Return different choices without white space around them; nothing if fewer than two are left, or one is empty."""
    found = tuple(dict.fromkeys(one.strip() for one in some))
    return found if len(found) > 1 and all(found) else ()


def _read_listed(text: str) -> list[tuple[str, str]]:
    """Return (line, text) of the choices that a question lists at its end by the letters from A on; nothing for other letters.

    A question may hold several lists, such as earlier examples: the last one counts.
    """
    found: list[tuple[str, str]] = []
    for match in _LISTED.finditer(text):
        if match["letter"] == "A":
            found = []
        if len(found) == len(LETTERS) or match["letter"] != LETTERS[len(found)]:
            return []
        found.append((f"{match['mark']} {match['text']}", match["text"]))
    return found if len(found) > 1 else []
