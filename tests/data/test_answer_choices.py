"""The possible answers of a row, whatever form its own answer has."""

import pytest

from finewright.core.config import DataConfig
from finewright.data.answer_choices import possible_answers
from finewright.data.conversations import Conversation, Message, conversation_of
from finewright.data.dataset import read_rows
from finewright.data.tables import to_table

LISTED = "What is the capital?\nA) Rome\nB) Paris\nC) Bonn"


def row(prompt: str, answer: str, **more) -> Conversation:
    return conversation_of((Message("user", prompt), Message("assistant", answer)), where="x:1", **more)


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        (LISTED, "B", ("A", "B", "C")),
        (LISTED, "(B)", ("(A)", "(B)", "(C)")),
        (LISTED, "C.", ("A.", "B.", "C.")),
        (LISTED, "Paris", ("Rome", "Paris", "Bonn")),
        (LISTED, "B) Paris", ("A) Rome", "B) Paris", "C) Bonn")),
        (LISTED, " Paris\n", ("Rome", "Paris", "Bonn")),
        (LISTED, "D", ()),
        (LISTED, "paris is it", ()),
        (f"A. old\nB. older\n\n{LISTED}", "Bonn", ("Rome", "Paris", "Bonn")),
        ("(A) yes\n(B) no\nWhich?", "A", ("A", "B")),
        ("A. Smith asks: who?\nC. Jones", "A", ()),
        ("A. only one", "A", ()),
        ("no list at all", "A", ()),
    ],
)
def test_choices_are_read_from_the_prompt_in_the_form_of_the_answer(prompt, answer, expected):
    assert possible_answers(row(prompt, answer)) == expected


def test_choices_of_the_row_come_before_those_of_the_prompt():
    assert possible_answers(row("2+2?", "4", choices=("3", "4"))) == ("3", "4")
    assert possible_answers(row("2+2?", "B", choices=("3", "4"))) == ("A", "B")
    assert possible_answers(row("2+2?", "B. 4", choices=("3", "4"))) == ("A. 3", "B. 4")
    assert possible_answers(row("2+2?", "5", choices=("3", "4"))) == ()
    assert possible_answers(row("2+2?", "4", choices=("4", "4"))) == (), "nothing to choose"
    assert possible_answers(row("2+2?", "4", choices=("4", ""))) == (), "an empty answer has no tokens"


def test_a_row_without_an_answer_has_no_choices():
    assert possible_answers(conversation_of((Message("user", LISTED),), where="x:1")) == ()
    assert possible_answers(Conversation(LISTED, "", "x:1", form="text")) == ()


@pytest.mark.parametrize(
    ("answer", "choices", "expected"),
    [
        ("4", ["3", "4"], ("3", "4")),
        ("B", ["3", "4"], ("A", "B")),
        ("4", {"text": ["3", "4"], "label": ["A", "B"]}, ("3", "4")),
        ("five", ["3", "4"], ()),
        ("4", "3 or 4", ()),
    ],
)
def test_messages_may_have_choices_beside_them(answer, choices, expected):
    messages = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": answer}]
    for columns in ({"messages": messages}, {"prompt": messages[:1], "completion": messages[1:]}):
        table = to_table([columns | {"choices": choices}])
        (found,) = read_rows(table, options=DataConfig(), row_kind="conversation")[0]
        assert possible_answers(found) == expected
