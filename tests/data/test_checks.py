"""What is wrong with texts, whatever the task."""

import pytest

from finewright.core.errors import ExitCode, UserError
from finewright.data import checks
from finewright.data.checks import Finding
from finewright.data.dataset import Dataset
from finewright.data.splits import Example


def dataset(train, validation=(), test=()):
    parts = [
        [Example(text, str(index), f"{name}.csv:{index + 2}") for index, text in enumerate(texts)]
        for texts, name in ((train, "train"), (validation, "validation"), (test, "test"))
    ]
    return Dataset(*parts, (), "text", [], "")


def test_texts_are_checked_without_a_look_at_their_labels():
    """Every row has a label of its own here, as numbers have."""
    found = checks.check_texts(dataset(["a", "b", "A"], ["c", " b"]))
    assert [(finding.code, finding.rows) for finding in found] == [
        ("no_test", ()),
        ("duplicates", ("train.csv:4",)),
        ("leak", ("validation.csv:3",)),
    ]
    (error, *_) = checks.check_texts(dataset([]))
    assert (error.code, error.severity) == ("no_train", "error")


def test_one_cut_or_empty_text_is_said_as_one():
    (none,) = checks.check_truncation([0, 3], limit=5, side="right", places=["t.csv:2", "t.csv:3"])
    assert none.message == "1 text has no token: nothing of it would reach the model"
    (cut,) = checks.check_truncation([9, 3], limit=5, side="right", places=["t.csv:2", "t.csv:3"])
    assert cut.message == "t.csv: 1 of 2 texts (50.0%) is longer than 5 tokens"


def test_truncation_says_count_share_and_end():
    (finding,) = checks.check_truncation(
        [3, 9, 12, 1], limit=8, side="right", places=["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]
    )
    assert finding.message == "a.csv: 2 of 4 texts (50.0%) are longer than 8 tokens"
    assert finding.rows == ("a.csv:3", "a.csv:4")
    assert finding.fix.startswith("the end is cut off")
    (finding,) = checks.check_truncation([9, 3], limit=8, side="left", places=["a.csv:2", "a.csv:3"])
    assert finding.fix.startswith("the start is cut off")
    assert checks.check_truncation([8, 3], limit=8, side="left", places=["a.csv:2", "a.csv:3"]) == []
    assert checks.check_truncation([], limit=8, side="left", places=[]) == []


def test_a_text_without_tokens_is_an_error():
    (finding,) = checks.check_truncation([0, 2], limit=8, side="left", places=["a.csv:2", "a.csv:3"])
    assert (finding.severity, finding.rows) == ("error", ("a.csv:2",))


def test_errors_stop_with_every_row_named_and_the_rest_counted():
    findings = [
        Finding("x", "error", "wrong labels", tuple(f"a.csv:{line}" for line in range(2, 62)), "mend them"),
        Finding("y", "warning", "harmless", (), "nothing"),
    ]
    with pytest.raises(UserError) as caught:
        checks.raise_on_errors(findings)
    text = str(caught.value)
    assert caught.value.code == ExitCode.BAD_DATA
    assert "a.csv:51" in text
    assert "a.csv:52" not in text
    assert "and 10 more" in text
    assert "harmless" not in text
    checks.raise_on_errors(findings[1:])


def test_a_forced_run_goes_on_with_what_may_be_meant():
    findings = [
        Finding("numbers", "error", "these are numbers", ("a.csv:2",), "another column", forcible=True),
        Finding("no_train", "error", "no training rows", (), "add rows"),
    ]
    assert checks.apply_force(findings, force=False) == findings
    first, second = checks.apply_force(findings, force=True)
    assert (first.severity, first.message) == ("warning", "these are numbers")
    assert second == findings[1]
    assert "forcible" not in first.as_json()


class WordTokenizer:
    """Token 1 begins a text, 2 ends it, 0 is unknown."""

    unk_token_id, unk_token, bos_token_id, cls_token_id, all_special_ids = 0, "[UNK]", 1, None, (0, 1, 2)

    def convert_ids_to_tokens(self, number):
        return {0: "[UNK]", 1: "<s>", 2: "</s>"}[number]


def tokens_found(*texts, tokenizer=None):
    rows = [Example(f"text {n}", "a", f"a.csv:{n + 2}") for n in range(len(texts))]
    ids = [[1, *text, 2] for text in texts]
    return {one.code: one for one in checks.check_tokens(tokenizer or WordTokenizer(), ids, rows, name="train")}


def test_texts_that_the_tokenizer_does_not_know_at_all_are_an_error():
    finding = tokens_found([0, 0, 0], [0, 0])["unknown_tokens"]
    assert (finding.severity, finding.rows) == ("error", ("a.csv:2", "a.csv:3"))
    assert finding.message.startswith("100% of the tokens of the train texts are unknown to this tokenizer ([UNK])")
    assert "model" in finding.fix


def test_many_unknown_tokens_are_a_warning_with_example_rows():
    finding = tokens_found([0, 5, 6], [0, 0, 6], [5, 6, 7, 8])["unknown_tokens"]
    assert (finding.severity, finding.rows) == ("warning", ("a.csv:3", "a.csv:2"))
    assert finding.message.startswith("30% of the tokens of the train texts are unknown to this tokenizer ([UNK])")
    assert tokens_found([0, 5, 6, 7, 8], [5, 6, 7]) == {}, "one in eight"


def test_a_few_texts_of_unknown_tokens_alone_are_named():
    finding = tokens_found(*[[5, 6, 7, 8]] * 20, [0, 0])["unknown_texts"]
    assert (finding.severity, finding.rows) == ("warning", ("a.csv:22",))
    assert finding.message == "1 train text has only tokens that are unknown to this tokenizer ([UNK])"


def test_texts_that_begin_with_the_token_that_the_tokenizer_adds_are_found():
    finding = tokens_found([1, 5, 6], [5, 6], [1, 7])["doubled_start"]
    assert (finding.severity, finding.rows) == ("warning", ("a.csv:2", "a.csv:4"))
    assert finding.message == "2 train texts begin with '<s>', which the tokenizer adds too: the model reads it twice"


def test_a_tokenizer_whose_unknown_token_has_another_use_counts_none():
    """GPT-2's is its end of text; it can write every text."""

    class Bytes(WordTokenizer):
        unk_token_id = eos_token_id = 2

    assert tokens_found([2, 2], tokenizer=Bytes()) == {}
    Bytes.unk_token_id = None
    assert tokens_found([5, 6], [7], tokenizer=Bytes()) == {}
    assert checks.check_tokens(WordTokenizer(), [], [], name="test") == []
