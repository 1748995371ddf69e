"""Text of an answer token by token: whole characters, and stop strings wherever they begin."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers import decoders as token_decoders
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from finewright.inference.answer_text import AnswerText

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="module")
def bytewise():
    """A tokenizer with a token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = token_decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=pieces)


def feed(tokenizer, text, *, prompt="", stop=()):
    """(released pieces, the text, whether it stopped) of an answer."""
    answer = AnswerText(tokenizer, tokenizer(prompt)["input_ids"] if prompt else [], stop=stop)
    pieces = []
    for token in tokenizer(text)["input_ids"]:
        pieces.append(answer.append(token))
        if answer.stopped:
            break
    pieces.append(answer.finish())
    return pieces, answer.text, answer.stopped


def test_a_character_of_several_bytes_is_released_whole(bytewise):
    pieces, text, _ = feed(bytewise, "a€😀b")
    assert text == "a€😀b"
    assert [piece for piece in pieces if piece] == ["a", "€", "😀", "b"]


def test_an_answer_that_ends_inside_a_character_shows_so(bytewise):
    ids = bytewise("x€")["input_ids"][:-1]
    answer = AnswerText(bytewise, [])
    assert "".join(map(answer.append, ids)) == "x"
    assert answer.finish() == "\ufffd"
    assert answer.text == "x\ufffd"


def test_text_that_may_be_a_stop_string_is_held_back(bytewise):
    pieces, text, stopped = feed(bytewise, "one two", stop=("two!", "e tx"))
    assert "".join(pieces) == text == "one two"
    assert not stopped
    assert pieces[:3] == ["o", "n", ""]


def test_the_first_stop_string_ends_the_text(bytewise):
    assert feed(bytewise, "one, two. three", stop=(".", "two")) == (["o", "n", "e", ",", " ", "", "", "", ""], "one, ", True)


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.sampled_from("ab€\n "), max_size=20), st.lists(st.text(st.sampled_from("ab€"), min_size=1, max_size=3), max_size=2)
)
def test_what_is_released_is_the_text_up_to_the_first_stop_string(bytewise, text, stop):
    found = [place for one in stop if (place := text.find(one)) >= 0]
    pieces, whole, stopped = feed(bytewise, text, prompt="b ", stop=tuple(stop))
    ends = [place + len(one) for one in stop if (place := text.find(one)) >= 0]
    expected = (
        text
        if not ends
        else text[: text.find(next(one for one in stop if text.find(one) + len(one) == min(ends) and one in text))]
    )
    assert stopped == bool(found)
    if len({*ends}) == len(ends):  # of two that end at once either may be meant
        assert whole == expected
    assert "".join(pieces) == whole


TEXT = "Ein Haus, 42 € – 你好 😀!\n\n  def f(x):\n\treturn x  # naïve"


@pytest.mark.parametrize("name", ["tokenizers/gpt2", "models/stories260K", "models/all-MiniLM-L6-v2"])
def test_real_tokenizers_release_what_they_decode(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not beside the project")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("Once upon a time,", add_special_tokens=False)["input_ids"]
    whole = tokenizer(f"Once upon a time, {TEXT}", add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] == prompt
    answer = AnswerText(tokenizer, prompt)
    pieces = [answer.append(token) for token in whole[len(prompt) :]] + [answer.finish()]
    decoded = tokenizer.decode(whole, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces) == answer.text == decoded.removeprefix("Once upon a time,").removeprefix("once upon a time,")
    if "MiniLM" not in name:
        assert answer.text == f" {TEXT}"
