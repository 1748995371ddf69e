"""Which tokens of a conversation are learnt: every case that is known to go wrong elsewhere."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import chat_encoding, checks, text_tokenizer
from finewright.data.chat_templates import TEMPLATE_NAMES
from finewright.data.conversations import Conversation, Message, conversation_of
from support import chat
from support.chat import talk

SHARED = Path(__file__).resolve().parents[3] / "shared"
OPTIONS = DataConfig()


def encode(tokenizer, rows, *, limit=1000, **options):
    return chat_encoding.encode_conversations(tokenizer, rows, limit=limit, options=DataConfig(**options))


def learnt(tokenizer, encoded, sample=0):
    """The runs of tokens that are learnt, as text."""
    pieces = chat_encoding.show_trained_tokens(tokenizer, encoded.ids[sample], encoded.trained[sample])
    return [text for text, flag in pieces if flag]


def whole(tokenizer, encoded, sample=0):
    return "".join(text for text, _ in chat_encoding.show_trained_tokens(tokenizer, encoded.ids[sample], encoded.trained[sample]))


def chatml(template=chat.CHATML, make=chat.byte_level, **more):
    return make(added=chat.TURNS, template=template, **more)


TWO_TURNS = talk("Where is it?", "On its way.", "When?", "On Friday.", system="Be brief.")


@pytest.mark.parametrize("template", [chat.CHATML, chat.MARKED, chat.WRONG_MARKS])
@pytest.mark.parametrize("make", [chat.byte_level, chat.with_start])
def test_answers_and_their_end_of_turn_are_learnt_and_nothing_else(template, make):
    """With marks or without, and where the end of a turn is not the tokenizer's end of text."""
    tokenizer = chatml(template, make)
    encoded = encode(tokenizer, [TWO_TURNS])
    assert [text.strip() for text in learnt(tokenizer, encoded)] == ["On its way.<|im_end|>", "On Friday.<|im_end|>"]
    assert encoded.mask_sources == {"marks" if template == chat.MARKED else "prefix": 1}
    assert whole(tokenizer, encoded).count("<s>") == (make is chat.with_start)


@pytest.mark.parametrize("name", ["plain", "alpaca", "zephyr"])
@pytest.mark.parametrize("make", [chat.byte_level, chat.with_start])
def test_a_model_without_a_template_learns_to_end_its_answer(name, make):
    tokenizer = make()
    encoded = encode(tokenizer, [talk("Where is it?", "On its way."), talk("a", "b", "c", "d")], chat_template=name)
    for sample in range(len(encoded)):
        assert encoded.ids[sample][-1] == tokenizer.eos_token_id
        assert encoded.trained[sample][-1]
    assert learnt(tokenizer, encoded)[0].strip() == f"On its way.{tokenizer.eos_token}"
    assert tokenizer.chat_template


@pytest.mark.parametrize("make", [chat.byte_level, chat.with_start])
@pytest.mark.parametrize("name", [None, *TEMPLATE_NAMES])
def test_tokens_are_those_that_the_template_gives_to_others(make, name):
    """What `apply_chat_template` of the saved tokenizer gives at inference is what was learnt."""
    header = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    tokenizer = make(added=(*chat.TURNS, *header))
    encoded = encode(tokenizer, [TWO_TURNS], chat_template=name)
    messages = [one.for_template() for one in TWO_TURNS.messages]
    theirs = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    own = encoded.ids[len(encoded) - 1].tolist()
    if (
        "turns" not in encoded.mask_sources
    ):  # else the tokens of a prompt are others before its answer, and the prompt's own count
        assert own == theirs[: len(own)]
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=False)
    assert chat_encoding.encode_prompts(tokenizer, [TWO_TURNS], limit=1000) == [prompt]


@pytest.mark.parametrize("make", [chat.byte_level, chat.with_start])
@pytest.mark.parametrize("name", ["chatml", "plain", "alpaca", "zephyr"])
def test_the_marks_of_a_named_template_mean_the_same_to_transformers(make, name):
    tokenizer = make(added=chat.TURNS)
    encoded = encode(tokenizer, [TWO_TURNS], chat_template=name)
    messages = [one.for_template() for one in TWO_TURNS.messages]
    how = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    theirs = tokenizer.apply_chat_template(messages, **how)
    own = encoded.ids[0].tolist()
    assert encoded.mask_sources == {"marks": 1}
    assert own == theirs["input_ids"][: len(own)]
    assert encoded.trained[0].astype(int).tolist() == theirs["assistant_masks"][: len(own)]
    assert not any(theirs["assistant_masks"][len(own) :])


TEMPLATES = [chat.CHATML, chat.THINKING, chat.MARKED, chat.WRONG_MARKS, chat.NO_END, chat.TEXT_END, chat.TWO_STARTS]
WORDS = st.text(st.sampled_from("ab .\n<é日"), min_size=1, max_size=8).filter(str.strip)
TOKENIZERS = {(make, template): chatml(template, make) for make in (chat.byte_level, chat.with_start) for template in TEMPLATES}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TOKENIZERS, key=repr)), st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), st.booleans())
def test_a_prompt_to_generate_from_is_what_was_before_the_answer_in_training(kind, pairs, with_system):
    tokenizer = TOKENIZERS[kind]
    row = talk(*[text for pair in pairs for text in pair], system="Sys" if with_system else "")
    encoded = encode(tokenizer, [row])
    prompt = chat_encoding.encode_prompts(tokenizer, [row], limit=1000)[0]
    ids, trained = encoded.ids[len(encoded) - 1].tolist(), encoded.trained[len(encoded) - 1]
    assert ids[: len(prompt)] == prompt
    assert not trained[len(prompt) - 1]
    assert trained[len(prompt) :].all()
    answer = tokenizer.decode(ids[len(prompt) :], clean_up_tokenization_spaces=False)
    assert pairs[-1][1].strip() in answer
    assert encoded.num_trained == sum(len(encoded.ids[at][encoded.trained[at]]) for at in range(len(encoded)))


def test_a_template_that_rewrites_earlier_turns_gives_one_sample_for_each_answer():
    """The thoughts of every turn are learnt, and each prompt is what the template gives at that turn."""
    tokenizer = chatml(chat.THINKING)
    row = talk("a?", "<think>\nhm\n</think>\n\nA.", "b?", "<think>\nso\n</think>\n\nB.")
    encoded = encode(tokenizer, [row])
    assert encoded.mask_sources == {"turns": 2}
    assert encoded.row_of.tolist() == [0, 0]
    assert learnt(tokenizer, encoded, 0) == ["<think>\nhm\n</think>\n\nA.<|im_end|>"]
    assert learnt(tokenizer, encoded, 1) == ["<think>\nso\n</think>\n\nB.<|im_end|>"]
    assert "hm" not in whole(tokenizer, encoded, 1)
    assert any("one sample for each answer" in note for note in encoded.notes)


def test_a_template_that_changes_earlier_turns_and_keeps_their_length():
    tokenizer = chatml(chat.THINKING.replace("said.split('</think>')[-1].lstrip()", "said | upper"))
    encoded = encode(tokenizer, [talk("a?", "one", "b?", "two")])
    assert encoded.mask_sources == {"turns": 2}
    assert [learnt(tokenizer, encoded, sample) for sample in range(2)] == [["one<|im_end|>"], ["two<|im_end|>"]]
    assert "ONE" in whole(tokenizer, encoded, 1)


@pytest.mark.parametrize("make", [chat.byte_level, chat.with_start])
def test_a_text_that_follows_another_gets_no_blank(make):
    tokenizer = make()
    ids = text_tokenizer.TextTokenizer(tokenizer).continuation("There it is")
    assert tokenizer.convert_ids_to_tokens(ids)[0][0] == "T"


def test_a_prompt_whose_last_tokens_would_merge_with_the_answer_is_tokenized_apart():
    """`\\n` and an answer that begins with `\\n`: the model is given the first alone when it generates."""
    tokenizer = chat.byte_level()
    row = talk("Hi", "\n\nOn Friday.")
    encoded = encode(tokenizer, [row])
    alone = tokenizer("### User:\nHi\n\n### Assistant:\n")["input_ids"]
    assert encoded.ids[0].tolist()[: len(alone)] == alone
    assert learnt(tokenizer, encoded) == ["\n\nOn Friday.<|end|>"]


def test_only_one_start_token_whatever_template_and_text_write():
    tokenizer = chatml(chat.TWO_STARTS, chat.with_start)
    rows = [talk("a", "b"), Conversation("<s>Once upon a time", "", "a:2", form="text")]
    encoded = encode(tokenizer, rows)
    start = tokenizer.bos_token_id
    assert [ids.tolist().count(start) for ids in encoded.ids] == [1, 1]
    assert [ids[0] for ids in encoded.ids] == [start, start]
    without = encode(chatml(chat.CHATML, chat.with_start), [talk("a", "b")])
    assert without.ids[0][0] == start
    assert any("does not write <s>" in note for note in without.notes)


def test_padding_that_is_the_end_of_text_does_not_hide_the_end_of_an_answer():
    tokenizer = chat.with_start()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    encoded = encode(tokenizer, [talk("a", "b")])
    assert encoded.trained[0][-1]
    assert encoded.ids[0][-1] == tokenizer.pad_token_id


@pytest.mark.parametrize("template", [chat.NO_END, chat.TEXT_END])
def test_a_template_without_an_end_token_gets_the_end_of_text(template):
    tokenizer = chat.byte_level(template=template)
    encoded = encode(tokenizer, [talk("a?", "A.", "b?", "B.")])
    assert len(encoded) == 2
    for sample in range(2):
        assert encoded.ids[sample][-1] == tokenizer.eos_token_id
        assert encoded.trained[sample][-1]
    assert any("no token that ends an answer" in note for note in encoded.notes)


def test_the_ends_of_a_turn_for_generation():
    assert chat_encoding.end_of_turn_ids(chat.byte_level()) == [chat.byte_level().eos_token_id]
    tokenizer = chatml()
    wanted = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert chat_encoding.end_of_turn_ids(tokenizer) == wanted
    assert chat_encoding.end_of_turn_ids(chat.byte_level(template=chat.TEXT_END)) == wanted[:1]
    bare = chat.byte_level(eos=None)
    assert chat_encoding.end_of_turn_ids(bare) == []


def test_a_generation_prompt_that_answers_do_not_begin_with():
    tokenizer = chatml(chat.FORCED_THOUGHT)
    row = talk("a?", "A.")
    encoded = encode(tokenizer, [row])
    assert learnt(tokenizer, encoded) == ["A.<|im_end|>"]
    assert any("begins an answer otherwise" in note for note in encoded.notes)
    prompt = chat_encoding.encode_prompts(tokenizer, [row], limit=100)[0]
    assert encoded.ids[0].tolist()[: len(prompt)] == prompt


def test_a_generation_prompt_of_which_a_part_of_a_token_is_in_the_answer():
    """`<think>` and `<call>` begin alike: a token is never parted."""
    tokenizer = chat.byte_level(added=(*chat.TURNS, "<think>", "<call>"), template=chat.FORCED_THOUGHT)
    encoded = encode(tokenizer, [talk("a?", "<call>track")])
    assert learnt(tokenizer, encoded) == ["<call>track<|im_end|>"]


def test_of_several_tokens_at_the_end_of_a_turn_the_last_one_ends_it():
    tokenizer = chat.byte_level(added=(*chat.TURNS, "<|done|>"), template=chat.CHATML.replace("<|im_end|>", "<|done|><|im_end|>"))
    assert learnt(tokenizer, encode(tokenizer, [TWO_TURNS])) == ["On its way.<|done|><|im_end|>", "On Friday.<|done|><|im_end|>"]
    assert chat_encoding.end_of_turn_ids(tokenizer)[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_the_end_of_a_whole_conversation_does_not_part_its_turns():
    """As Phi-3's template, which writes the end of text after the last turn alone."""
    tokenizer = chatml(chat.CHATML.replace("{% if add", "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}{% if add"))
    encoded = encode(tokenizer, [TWO_TURNS])
    assert encoded.mask_sources == {"prefix": 1}
    assert learnt(tokenizer, encoded) == ["On its way.<|im_end|>", "On Friday.<|im_end|>"]


def test_a_template_that_wants_content_in_parts():
    """As those of models that see pictures: content that is text would be left out without a word."""
    tokenizer = chatml(chat.CHATML.replace("m['content']", "m['content'][0]['text']"))
    assert learnt(tokenizer, encode(tokenizer, [TWO_TURNS])) == ["On its way.<|im_end|>", "On Friday.<|im_end|>"]
    silent = chatml(chat.CHATML.replace("m['content']", "(m['content'] if m['role'] == 'user' else '')"))
    with pytest.raises(UserError, match="no place for the answer"):
        encode(silent, [TWO_TURNS])


def test_a_template_that_wants_the_arguments_of_calls_as_text():
    call = {"type": "function", "function": {"name": "track", "arguments": {"id": 7}}}
    row = conversation_of((Message("user", "Where?"), Message("assistant", "", (call,))), where="a:1")
    shown = "m['content'] + (m['tool_calls'][0]['function']['arguments'] + '!' if m['tool_calls'] else '')"
    tokenizer = chatml(chat.CHATML.replace("m['content']", shown))
    assert learnt(tokenizer, encode(tokenizer, [row])) == ['{"id": 7}!<|im_end|>']


def test_all_tokens_of_a_conversation_that_the_template_rewrites():
    tokenizer = chatml(chat.THINKING)
    row = talk("a?", "<think>\nhm\n</think>\n\nA.", "b?", "B.")
    encoded = encode(tokenizer, [row], trained_tokens="all")
    assert len(encoded) == 1
    assert encoded.num_trained == len(encoded.ids[0]) - 1
    spaced = talk("Hi", "\n\nOn Friday.")
    bare = chat.byte_level()
    assert encode(bare, [spaced], trained_tokens="all").num_trained == len(bare(chat_text(bare, spaced))["input_ids"]) - 1


def chat_text(tokenizer, row):
    return tokenizer.apply_chat_template([one.for_template() for one in row.messages], tokenize=False)


def test_a_system_prompt_where_the_template_has_none_goes_into_the_first_question():
    tokenizer = chatml(chat.STRICT)
    encoded = encode(tokenizer, [talk("a?", "A.", system="Be brief.")])
    assert "Be brief.\n\na?" in whole(tokenizer, encoded)
    assert any("takes no system message" in note for note in encoded.notes)


def test_a_row_that_the_template_refuses_is_named():
    row = conversation_of((Message("user", "a"), Message("user", "b"), Message("assistant", "c")), where="chats.jsonl:7")
    with pytest.raises(UserError, match="Conversation roles must alternate") as error:
        encode(chatml(chat.STRICT), [row])
    assert (error.value.where, error.value.code) == ("chats.jsonl:7", ExitCode.BAD_DATA)
    assert learnt(chatml(), encode(chatml(), [row])) == ["c<|im_end|>"]


def test_an_assistant_may_begin():
    row = conversation_of((Message("assistant", "Welcome."), Message("user", "a"), Message("assistant", "b")), where="a:1")
    tokenizer = chatml()
    assert learnt(tokenizer, encode(tokenizer, [row])) == ["Welcome.<|im_end|>", "b<|im_end|>"]


def test_what_is_said_after_the_last_answer_is_no_part_of_a_sample():
    tokenizer = chatml()
    encoded = encode(tokenizer, [talk("a", "b", "thanks")])
    assert whole(tokenizer, encoded) == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>"


def test_which_answers_are_learnt():
    tokenizer = chatml()
    assert learnt(tokenizer, encode(tokenizer, [TWO_TURNS], trained_tokens="last-answer")) == ["On Friday.<|im_end|>"]
    everything = encode(tokenizer, [TWO_TURNS], trained_tokens="all")
    assert everything.trained[0].tolist() == [False, *[True] * (len(everything.ids[0]) - 1)]
    told = replace(TWO_TURNS.messages[2], is_trained=False)
    row = conversation_of((*TWO_TURNS.messages[:2], told, *TWO_TURNS.messages[3:]), where="a:1")
    assert learnt(tokenizer, encode(tokenizer, [row])) == ["On Friday.<|im_end|>"]
    unlike = chatml(chat.THINKING)
    thought = talk("a?", "<think>\nhm\n</think>\n\nA.", "b?", "B.")
    assert learnt(unlike, encode(unlike, [thought], trained_tokens="last-answer")) == ["B.<|im_end|>"]
    assert len(encode(unlike, [thought], trained_tokens="last-answer")) == 1


def test_rows_without_anything_to_learn_are_counted_and_a_set_of_them_is_refused():
    silent = conversation_of((Message("user", "a"), Message("assistant", "b", is_trained=False)), where="a:1")
    tokenizer = chatml()
    encoded = encode(tokenizer, [silent, talk("a", "b")])
    assert encoded.without_target == (0,)
    assert encoded.row_of.tolist() == [1]
    with pytest.raises(UserError, match="no token of these rows is learnt") as error:
        encode(tokenizer, [silent])
    assert error.value.code == ExitCode.BAD_DATA
    assert len(encode(tokenizer, [])) == 0


def test_findings_name_the_rows_that_are_left_out():
    tokenizer = chatml()
    silent = conversation_of((Message("user", "a"), Message("assistant", "b", is_trained=False)), where="a:2")
    rows = [talk("a", "b"), silent, talk("why " * 50, "so", where="a:3")]
    encoded = encode(tokenizer, rows, limit=40)
    found = checks.check_samples(encoded, rows, name="train", limit=40)
    assert [(one.code, one.rows) for one in found] == [("over_long", ("a:3",)), ("no_target", ("a:2",))]
    assert found[0].message == "1 of 3 train rows (33.3%) is longer than 40 tokens and left out"
    assert f"data.max_length={encoded.longest} " in found[0].fix
    assert checks.check_samples(encode(tokenizer, rows[:1]), rows[:1], name="train", limit=40) == []


def test_a_special_token_in_what_somebody_says_is_noted():
    tokenizer = chatml()
    row = talk("what is <|im_end|>?", "An end.<|im_end|> Yes.")
    encoded = encode(tokenizer, [row])
    assert any("a message writes the special token <|im_end|>" in note for note in encoded.notes)
    assert learnt(tokenizer, encoded) == ["An end.<|im_end|> Yes.<|im_end|>"]


def test_long_conversations_are_left_out_and_counted():
    tokenizer = chatml()
    rows = [talk("a", "b"), talk("why " * 50, "so")]
    encoded = encode(tokenizer, rows, limit=40)
    assert encoded.over_long == (1,)
    longest = len(encode(tokenizer, rows).ids[1])
    assert encoded.longest == longest > 40
    assert f"1 of 2 rows is longer than 40 tokens and was left out; the longest has {longest}" in encoded.notes
    with pytest.raises(UserError, match="no row is left: 1 of 1 are longer than 40 tokens") as error:
        encode(tokenizer, rows[1:], limit=40)
    assert error.value.code == ExitCode.BAD_DATA


def test_a_prompt_that_is_cut_keeps_its_system_prompt_and_the_whole_answer():
    tokenizer = chatml()
    row = talk(" ".join(f"w{number}" for number in range(60)), "Yes indeed.", system="Be brief.")
    encoded = encode(tokenizer, [row], limit=60, over_long="cut-prompt")
    text = whole(tokenizer, encoded)
    assert len(encoded.ids[0]) == 60
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith("w59<|im_end|>\n<|im_start|>assistant\nYes indeed.<|im_end|>")
    assert learnt(tokenizer, encoded) == ["Yes indeed.<|im_end|>"]
    assert encoded.num_cut == 1
    prompt = chat_encoding.encode_prompts(tokenizer, [row], limit=60)[0]
    assert len(prompt) == 60
    assert tokenizer.decode(prompt).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")


def test_an_earlier_answer_that_loses_its_start_is_not_learnt_and_a_long_answer_is_left_out():
    tokenizer = chatml()
    row = talk("q", " ".join(f"w{number}" for number in range(40)), "next?", "Done.")
    encoded = encode(tokenizer, [row], limit=60, over_long="cut-prompt")
    assert len(encoded.ids[0]) == 60
    assert learnt(tokenizer, encoded) == ["Done.<|im_end|>"]
    with pytest.raises(UserError, match="no row is left"):
        encode(tokenizer, [talk("q", "long " * 80)], limit=60, over_long="cut-prompt")


@given(st.integers(2, 30), st.integers(1, 60))
def test_every_token_of_a_long_text_is_learnt_once(limit, num_words):
    tokenizer = TOKENIZERS[chat.with_start, chat.CHATML]
    row = Conversation("word " * num_words, "", "a:1", form="text")
    all_ids = encode(tokenizer, [row]).ids[0].tolist()
    encoded = encode(tokenizer, [row], limit=limit)
    assert max(encoded.ids.lengths) <= limit
    assert [token for ids, marks in zip(encoded.ids, encoded.trained, strict=True) for token in ids[marks]] == all_ids[1:]
    assert all_ids[0] == tokenizer.bos_token_id
    assert all_ids[-1] == tokenizer.eos_token_id
    assert encoded.over_long == ()


def test_tokens_that_are_given_stay_as_they_are():
    tokenizer = chatml()
    row = Conversation("", "", "a:1", form="tokens", ids=(5, 6, 7), trained=(False, False, True))
    encoded = encode(tokenizer, [row])
    assert encoded.ids[0].tolist() == [5, 6, 7]
    assert encoded.trained[0].tolist() == [False, False, True]
    assert chat_encoding.encode_prompts(tokenizer, [row], limit=9) == [[5, 6]]
    with pytest.raises(UserError, match="token id 99,999 is none of"):
        encode(tokenizer, [replace(row, ids=(5, 6, 99_999))])


def test_calls_of_functions_that_the_template_would_leave_out_are_refused():
    call = {"type": "function", "function": {"name": "track", "arguments": {"id": 7}}}
    turns = (
        Message("user", "Where?"),
        Message("assistant", "", (call,)),
        Message("tool", "Friday"),
        Message("assistant", "Friday."),
    )
    tools = ({"type": "function", "function": {"name": "track"}},)
    row = conversation_of(turns, where="a:3", tools=tools)
    with pytest.raises(UserError, match="no place for calls of functions") as error:
        encode(chatml(), [row])
    assert error.value.where == "a:3"
    tokenizer = chat.byte_level(added=chat.TURNS)
    encoded = encode(tokenizer, [row], chat_template="chatml")
    said = '<tool_call>\n{"name": "track", "arguments": {"id": 7}}\n</tool_call><|im_end|>'
    assert learnt(tokenizer, encoded) == [said, "Friday.<|im_end|>"]
    assert '{"type": "function", "function": {"name": "track"}}' in whole(tokenizer, encoded)
    unseen = encode(chatml(), [talk("a", "b", tools=tools)])
    assert any("does not show `tools`" in note for note in unseen.notes)


def test_prompts_need_no_answer():
    tokenizer = chatml()
    assert tokenizer.decode(chat_encoding.encode_prompts(tokenizer, [talk("a")], limit=99)[0]) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    )
    text = Conversation("Once upon", "", "a:1", form="text")
    assert tokenizer.decode(chat_encoding.encode_prompts(tokenizer, [text], limit=99)[0]) == "Once upon"


def test_the_pieces_of_the_view_are_the_whole_text():
    tokenizer = chatml(chat.CHATML, chat.with_start)
    encoded = encode(tokenizer, [TWO_TURNS])
    assert whole(tokenizer, encoded) == tokenizer.decode(encoded.ids[0], clean_up_tokenization_spaces=False)
    assert chat_encoding.show_trained_tokens(tokenizer, [], []) == []


def test_counts_and_shapes():
    tokenizer = chatml()
    encoded = encode(tokenizer, [talk("a", "b"), TWO_TURNS])
    assert encoded.ids.flat.dtype == np.int32
    assert encoded.trained.flat.dtype == bool
    assert encoded.num_trained == encoded.trained.flat.sum()
    assert encoded.trained_share == pytest.approx(encoded.num_trained / len(encoded.ids.flat))
    assert (len(encoded), encoded.num_rows, encoded.longest) == (2, 2, max(encoded.ids.lengths))


@pytest.mark.parametrize("folder", ["models/stories260K", "tokenizers/gpt2"])
def test_real_tokenizers(folder):
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{folder} is not beside the project")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHARED / folder)
    encoded = encode(tokenizer, [TWO_TURNS, talk("x", "\n\ny")])
    runs = [run for sample in range(len(encoded)) for run in learnt(tokenizer, encoded, sample)]
    assert [re.sub(r"\s+", " ", run).strip() for run in runs] == [
        f"{text}{tokenizer.eos_token}" for text in ("On its way.", "On Friday.", "y")
    ]
    starts = {ids[0] == tokenizer.bos_token_id for ids in encoded.ids}
    assert starts == {"stories" in folder}
