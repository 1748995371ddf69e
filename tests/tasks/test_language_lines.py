"""Rows of language models from the lines of predictions.jsonl, for a run whose data is gone."""

import pytest

from finewright import tasks

LINE = {"text": "Where is my parcel?", "label": "On its way.", "where": "a.jsonl:1"}


def test_a_conversation_has_the_text_as_its_message_and_the_label_as_its_answer():
    kind = tasks.get_task("text-generation")
    row = kind.example_from_line(LINE)
    assert [(one.role, one.content) for one in row.messages] == [("user", LINE["text"]), ("assistant", LINE["label"])]
    assert kind.example_from_line(LINE | {"label": ""}).form == "text"
    assert kind.example_from_line(LINE | {"text": "", "label": ""}) is None


@pytest.mark.parametrize(
    ("more", "chosen", "rejected"),
    [
        ({"rejected": "No."}, ["On its way."], ["No."]),
        ({"good": True}, ["On its way."], []),
        ({"good": False}, [], ["On its way."]),
    ],
)
def test_a_preference_has_both_answers_or_one_that_was_judged(more, chosen, rejected):
    kind = tasks.get_task("preference")
    row = kind.example_from_line(LINE | more)
    assert ([one.content for one in row.chosen], [one.content for one in row.rejected]) == (chosen, rejected)
    assert kind.example_from_line(LINE | {"text": ""} | more) is None
