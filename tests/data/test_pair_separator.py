"""What stands between the two texts of a pair, and that it is saved with the tokenizer."""

import pytest

from finewright.core.errors import UserError
from finewright.data import pair_separator
from support import tiny

LINE_BREAK = "Ċ"


def load(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def tokens(tokenizer, *texts):
    return tokenizer.convert_ids_to_tokens(tokenizer(*texts)["input_ids"])


def test_a_decoder_gets_a_line_break_which_is_saved(tmp_path):
    tokenizer = load(tiny.folder(tmp_path / "gpt2"))
    single = tokens(tokenizer, "where is")
    assert pair_separator.ensure_separator(tokenizer)
    expected = [*single, LINE_BREAK, *tokens(tokenizer, "my parcel")]
    assert tokens(tokenizer, "where is", "my parcel") == expected
    assert tokens(tokenizer, "where is") == single
    assert not pair_separator.ensure_separator(tokenizer), "there is a separator now"
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert tokens(again, "where is", "my parcel") == expected
    assert not pair_separator.ensure_separator(again)


def test_a_second_start_token_is_no_separator(tmp_path):
    from tokenizers import processors

    tokenizer = load(tiny.folder(tmp_path / "gpt2"))
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|> $B", special_tokens=[("<|endoftext|>", 0)]
    )
    assert pair_separator.ensure_separator(tokenizer)
    assert tokens(tokenizer, "where", "when") == [*tokens(tokenizer, "where"), LINE_BREAK, *tokens(tokenizer, "when")[1:]]
    assert pair_separator.least_length(tokenizer) == 4


def test_an_encoder_without_a_rule_for_pairs_gets_the_usual_one(tmp_path):
    tokenizer = load(tiny.folder(tmp_path / "bert", kind="bert"))
    assert pair_separator.ensure_separator(tokenizer)
    found = tokenizer("where", "when", return_token_type_ids=True)
    shown = tokenizer.convert_ids_to_tokens(found["input_ids"])
    assert [shown[0], shown.count("[SEP]"), shown[-1]] == ["[CLS]", 2, "[SEP]"]
    assert found["token_type_ids"] == [int(place > shown.index("[SEP]")) for place in range(len(shown))]
    assert not pair_separator.ensure_separator(tokenizer)


def test_an_encoder_keeps_its_own_rule(tmp_path):
    from tokenizers import processors

    tokenizer = load(tiny.folder(tmp_path / "bert", kind="bert"))
    rule = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.backend_tokenizer.post_processor = rule
    assert not pair_separator.ensure_separator(tokenizer)
    assert pair_separator.least_length(tokenizer) == 6


def test_a_slow_tokenizer_without_a_separator_is_refused():
    class Slow:
        bos_token_id = None

        def __call__(self, *texts, add_special_tokens=True):
            return {"input_ids": [len(text) for text in texts]}

    with pytest.raises(UserError, match="no fast version and puts nothing between"):
        pair_separator.ensure_separator(Slow())
