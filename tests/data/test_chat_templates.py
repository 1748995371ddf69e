"""Templates by name: what they write, what they need, and which one a tokenizer gets."""

import pytest

from finewright.core.errors import UserError
from finewright.data import chat_templates
from finewright.data.chat_rendering import Renderer
from support import chat
from support.chat import talk

HEADER = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
ROW = talk("Where is it?", "On its way.", "When?", "On Friday.", system="Be brief.")


def render(tokenizer, row, **more):
    return tokenizer.apply_chat_template([one.for_template() for one in row.messages], tokenize=False, **more)


def test_the_plain_form():
    tokenizer = chat.byte_level()
    template, note = chat_templates.choose_template(tokenizer, None)
    assert note == "chat template: plain (the model has none); it is saved with the model"
    assert tokenizer.chat_template == template
    assert render(tokenizer, ROW) == (
        "Be brief.\n\n### User:\nWhere is it?\n\n### Assistant:\nOn its way.<|end|>\n\n"
        "### User:\nWhen?\n\n### Assistant:\nOn Friday.<|end|>\n\n"
    )
    assert render(tokenizer, talk("a"), add_generation_prompt=True) == "### User:\na\n\n### Assistant:\n"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("chatml", "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"),
        (
            "llama3",
            "{0}user{1}\n\na{2}{0}assistant{1}\n\nb{2}".format(*HEADER),
        ),
        ("zephyr", "<|user|>\na<|end|>\n<|assistant|>\nb<|end|>\n"),
    ],
)
def test_what_named_templates_write(name, wanted):
    tokenizer = chat.byte_level(added=(*chat.TURNS, *HEADER))
    chat_templates.choose_template(tokenizer, name)
    assert render(tokenizer, talk("a", "b")) == wanted


def test_alpaca_begins_with_its_sentence_unless_there_is_a_system_prompt():
    tokenizer = chat.byte_level()
    chat_templates.choose_template(tokenizer, "alpaca")
    assert render(tokenizer, talk("a", "b")).startswith("Below is an instruction that describes a task.")
    assert render(tokenizer, talk("a", "b", system="Sys")).startswith("Sys\n\n### Instruction:\na\n\n### Response:\nb<|end|>")


@pytest.mark.parametrize("name", chat_templates.TEMPLATE_NAMES)
@pytest.mark.parametrize("make", [chat.byte_level, chat.with_start])
def test_every_template_keeps_what_was_said_before_and_ends_with_a_token(name, make):
    """The text up to a turn begins the text of all turns, so that every answer can be found in it."""
    tokenizer = make(added=(*chat.TURNS, *HEADER))
    chat_templates.choose_template(tokenizer, name)
    texts = [render(tokenizer, talk(*["q", "a", "q", "a"][:count])) for count in (2, 3, 4)]
    assert texts[1].startswith(texts[0])
    assert texts[2].startswith(texts[1])
    assert texts[0].startswith("<s>") == (make is chat.with_start)
    assert Renderer(tokenizer).turn_end.kind == "token"
    assert Renderer(tokenizer).has_marks


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_a_template_whose_tokens_would_be_new_is_refused_with_those_that_fit(name):
    tokenizer = chat.byte_level()
    with pytest.raises(UserError, match="which the tokenizer does not have") as error:
        chat_templates.choose_template(tokenizer, name)
    assert "plain, alpaca or zephyr" in error.value.fix
    assert tokenizer.chat_template is None


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="no chat template 'vicuna'") as error:
        chat_templates.choose_template(chat.byte_level(), "vicuna")
    assert "chatml, plain, alpaca, llama3 or zephyr" in error.value.fix


def test_the_models_own_template_stays_unless_another_is_wanted():
    tokenizer = chat.byte_level(added=chat.TURNS, template=chat.CHATML)
    assert chat_templates.choose_template(tokenizer, None) == (chat.CHATML, "chat template: the model's own")
    _, note = chat_templates.choose_template(tokenizer, "plain")
    assert note == "chat template: plain (in place of the model's own); it is saved with the model"
    assert chat_templates.choose_template(tokenizer, None)[1].startswith("chat template: plain (the model has none)")


def test_of_several_templates_the_default_one():
    tokenizer = chat.byte_level(added=chat.TURNS)
    tokenizer.chat_template = {"tool_use": "x", "default": chat.CHATML}
    assert chat_templates.choose_template(tokenizer, None)[0] == chat.CHATML


def test_without_an_end_of_text_there_is_no_template():
    tokenizer = chat.byte_level(eos=None)
    assert chat_templates.choose_template(tokenizer, None)[0] is None
    with pytest.raises(UserError, match="needs a token that ends a text"):
        chat_templates.choose_template(tokenizer, "plain")
    with pytest.raises(UserError, match="no chat template"):
        Renderer(tokenizer)


def test_the_template_is_saved_with_the_tokenizer(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = chat.with_start()
    chat_templates.choose_template(tokenizer, "plain")
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert render(again, ROW) == render(tokenizer, ROW)
