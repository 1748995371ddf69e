"""The untrained model with examples in the prompt."""

from finewright.baselines.few_shot import FewShot, with_examples
from finewright.baselines.untuned import Untuned
from support.made_language import TRAIN, row


def roles_and_texts(one):
    return [(message.role, message.content) for message in one.messages]


def test_examples_are_earlier_turns_the_nearest_last_and_one_system_prompt_stays_first():
    asked = row("where is the tent", answer="reference")
    found = with_examples(asked, [TRAIN[2], TRAIN[0]])
    assert roles_and_texts(found) == [
        ("system", "Answer briefly."),
        ("user", "where is my parcel"),
        ("assistant", "shipping"),
        ("user", "the tent has a hole"),
        ("assistant", "defect"),
        ("user", "where is the tent"),
        ("assistant", "reference"),
    ]
    assert [one.content for one in found.prompt][-1] == "where is the tent", "the answer itself is not in the prompt"
    assert roles_and_texts(with_examples(asked, [])) == roles_and_texts(asked)


def test_the_model_is_asked_with_as_many_examples_as_fit():
    given = []
    asked = row("a hole in the tent")
    FewShot(examples=2).answer(TRAIN, [asked], generate=lambda rows: given.extend(rows) or ["said"])
    (some,) = given
    assert [sum(one.role == "assistant" for one in conversation.messages) - 1 for conversation in some] == [2, 1, 0]
    assert some[1].messages[1].content == "the tent has a hole", "the nearest is kept longest"
    assert some[-1] == asked


def test_untuned_asks_with_the_row_alone():
    given = []
    assert Untuned().answer(TRAIN, TRAIN, generate=lambda rows: given.extend(rows) or ["x"] * 3) == ["x"] * 3
    assert given == [[one] for one in TRAIN]
