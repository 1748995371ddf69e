"""Preference data: pairs with and without a prompt, and single answers."""

import json
from dataclasses import replace

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import chat_encoding
from finewright.data import dataset as dataset_module
from finewright.data.tables import to_table
from support import chat


def read(rows, **options):
    return dataset_module.read_rows(to_table(rows), options=DataConfig(**options), row_kind="preference")[0]


def said(messages):
    return [(one.role, one.content) for one in messages]


USER, GOOD, BAD = ({"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("assistant", "c")))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"question": "a", "chosen": "b", "rejected": "c"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": json.dumps([USER]), "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD])},
        {"prompt": "a", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        {"chosen": "a b", "rejected": "a c"},
        {"messages": [USER, GOOD], "rejected_response": "c"},
        {"messages": [USER, GOOD], "rejected_messages": [USER, BAD]},
    ],
    ids=lambda row: ",".join(row),
)
def test_pairs(row):
    found = read([row])[0]
    assert said(found.prompt) == [("user", "a")]
    assert said(found.chosen) == [("assistant", "b")]
    assert said(found.rejected) == [("assistant", "c")]
    assert found.is_pair
    assert (found.text, found.label) == ("a", "b")


@pytest.mark.parametrize(("value", "good"), [(True, True), (0, False), ("false", False), ("1", True), (1.0, True)])
def test_single_answers(value, good):
    found = read([{"prompt": "a", "completion": "b", "label": value}])[0]
    assert said(found.chosen if good else found.rejected) == [("assistant", "b")]
    assert not found.is_pair
    talked = read([{"messages": [USER, GOOD], "kto_tag": value}])[0]
    assert said(talked.chosen if good else talked.rejected) == [("assistant", "b")]


def test_a_system_prompt_and_tools():
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "system": "Brief.", "tools": [{"name": "f"}]}
    found = read([row])[0]
    assert said(found.prompt)[0] == ("system", "Brief.")
    assert found.tools
    assert said(read([{"prompt": "a", "chosen": "b", "rejected": "c"}], system_prompt="Own.")[0].prompt)[0] == ("system", "Own.")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "the chosen and the rejected answer are the same"),
        ({"prompt": "a", "chosen": "", "rejected": "b"}, "the chosen answer is empty"),
        ({"prompt": " ", "chosen": "b", "rejected": "c"}, "the prompt is empty"),
        ({"chosen": "b", "rejected": "c"}, "no prompt: neither a column, nor a beginning"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no prompt: neither a column"),
        ({"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "z"}, BAD]}, "no first message in common"),
        ({"prompt": "a", "completion": "b", "label": "maybe"}, "wanted true or false in 'label', found 'maybe'"),
        ({"prompt": "a", "chosen": [GOOD, USER], "rejected": "c"}, "does not end with an assistant message"),
        ({"messages": [USER], "rejected": "c"}, "no assistant message after a prompt"),
        ({"messages": [USER], "label": True}, "the last message is none of the assistant's"),
    ],
)
def test_faults_name_the_row(row, what):
    with pytest.raises(UserError) as error:
        read([row])
    assert f"row 1: {what}" in str(error.value) or what in str(error.value)
    assert "row 1: " in str(error.value)


def test_other_columns_are_refused():
    with pytest.raises(UserError, match="no columns of preferences; the columns are prompt, completion"):
        read([{"prompt": "a", "completion": "b"}])


def test_a_data_set_of_preferences():
    rows = [{"prompt": f"q{number % 30}", "chosen": "b", "rejected": f"c{number}"} for number in range(60)]
    table = to_table(rows)
    assert dataset_module.detect_row_kind(table, options=DataConfig())[0] == "preference"
    dataset = dataset_module.read_dataset(table, options=DataConfig(), row_kind="preference")
    parts = [{row.duplicate_key() for row in part} for part in (dataset.train, dataset.validation, dataset.test)]
    assert parts[0] & parts[1] == parts[0] & parts[2] == set()
    assert sum(map(len, parts)) == 30
    changed = [replace(dataset.train[0], rejected=dataset.train[0].chosen), replace(dataset.train[0], prompt=())]
    assert len({dataset.train[0].as_json(), *(one.as_json() for one in changed)}) == 3


def test_a_label_that_is_no_truth_value_is_none_of_a_preference():
    rows = [{"prompt": f"prompt {number}", "completion": f"answer {number}", "label": number % 3} for number in range(30)]
    with pytest.raises(UserError, match="'label' beside prompts with answers") as caught:
        dataset_module.detect_row_kind(to_table(rows), options=DataConfig())
    assert "preference" not in caught.value.fix


def test_both_answers_follow_the_same_tokens():
    tokenizer = chat.byte_level()
    row = read([{"prompt": "a", "chosen": "good", "rejected": "bad"}])[0]
    pair = [row.conversation(row.chosen), row.conversation(row.rejected)]
    encoded = chat_encoding.encode_conversations(tokenizer, pair, limit=100, options=DataConfig())
    starts = [marks.tolist().index(True) for marks in encoded.trained]
    assert starts[0] == starts[1]
    assert encoded.ids[0][: starts[0]].tolist() == encoded.ids[1][: starts[0]].tolist()


@pytest.mark.parametrize("text", ['{"team": "x"}', '["a", 1]', '[{"team": "x"}]', '{"messages": []}', "[", "[]"])
def test_texts_that_are_json_are_no_messages(text):
    pair = read([{"prompt": text, "chosen": f" {text}", "rejected": "[1]"}])[0]
    assert [said(part) for part in (pair.prompt, pair.chosen, pair.rejected)] == [
        [("user", text)],
        [("assistant", f" {text}")],
        [("assistant", "[1]")],
    ]
    assert said(read([{"prompt": "a", "completion": text, "label": True}])[0].chosen) == [("assistant", text)]
    assert said(read([{"messages": [USER, GOOD], "rejected_response": text}])[0].rejected) == [("assistant", text)]


def test_one_bad_label_among_many_is_named_and_does_not_change_the_task():
    rows = [{"prompt": f"p {number}", "completion": f"c {number}", "label": number % 2 == 0} for number in range(30)]
    rows[5]["label"] = None
    table = to_table(rows)
    assert dataset_module.detect_row_kind(table, options=DataConfig())[0] == "preference"
    with pytest.raises(UserError, match="wanted true or false in 'label', found None"):
        dataset_module.read_rows(table, options=DataConfig(), row_kind="preference")
