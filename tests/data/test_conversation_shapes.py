"""Chat data, instructions, texts and tokens, found by the names of their columns."""

import json

import numpy as np
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset as dataset_module
from finewright.data.conversations import Message
from finewright.data.tables import to_table


def read(rows, **options):
    """The conversations of rows in memory."""
    return dataset_module.read_rows(to_table(rows), options=DataConfig(**options), row_kind="conversation")[0]


def said(row):
    return [(one.role, one.content) for one in row.messages]


USER, BOT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
AB = [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, BOT]},
        {"messages": json.dumps([USER, BOT])},
        {"messages": {"messages": [USER, BOT]}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, BOT]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"conversation": [{"role": "Human", "content": "a"}, {"role": "model", "content": "b"}]},
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "input": "", "output": "b", "system": "", "history": []},
        {"prompt": "a", "completion": "b"},
        {"prompt": [USER], "completion": [BOT]},
        {"prompt": [USER], "completion": "b"},
        {"question": "a", "answer": "b"},
        {"query": "a", "response": "b"},
        {"input": "a", "target": "b"},
        {"problem": "a", "solution": "b"},
        {"Prompt": "a", " Response ": "b"},
    ],
    ids=lambda row: ",".join(row),
)
def test_shapes_are_found_by_their_columns(row):
    assert said(read([row])[0]) == AB
    assert dataset_module.detect_row_kind(to_table([row]), options=DataConfig())[0] == "conversation"


def test_an_alpaca_row_with_all_its_parts():
    row = {"instruction": "Translate.", "input": "Hund", "output": "dog", "system": "Brief.", "history": [["hi", "hello"]]}
    assert said(read([row])[0]) == [
        ("system", "Brief."),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "Translate.\nHund"),
        ("assistant", "dog"),
    ]
    assert (read([row])[0].text, read([row])[0].label, read([row])[0].form) == ("Translate.\nHund", "dog", "instruction")


def test_named_columns_and_a_system_prompt():
    rows = read([{"q": "a", "a": "b", "note": "x"}], prompt_column="q", answer_column="a", system_prompt="Brief.")
    assert said(rows[0]) == [("system", "Brief."), *AB]
    assert said(read([{"messages": [{"role": "system", "content": "Own."}, USER, BOT]}], system_prompt="Brief.")[0])[0] == (
        "system",
        "Own.",
    )
    with pytest.raises(UserError, match="no column 'x'") as error:
        read([{"q": "a", "a": "b"}], prompt_column="x", answer_column="a")
    assert error.value.code == ExitCode.BAD_DATA
    with pytest.raises(UserError, match="no column of answers"):
        read([{"q": "a", "z": "b"}], prompt_column="q")


def test_columns_that_are_not_used_are_said():
    notes = dataset_module.read_rows(
        to_table([{"prompt": "a", "completion": "b", "id": 1}]), options=DataConfig(), row_kind="conversation"
    )[1]
    assert notes == ["data: read as prompts with answers ('prompt', 'completion')", "data: columns that are not used: id"]


CALL = {"name": "track", "arguments": {"id": 7}}
WANTED = ({"type": "function", "function": CALL},)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": CALL}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "track", "arguments": '{"id": 7}'}}]},
        {"role": "assistant", "tool_calls": json.dumps([CALL])},
        {"role": "assistant", "function_call": {"name": "track", "arguments": '{"id": 7}'}},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"role": "assistant", "tool_calls": [{"function": {"name": "track", "arguments": {"id": 7, "of another": None}}}]},
    ],
)
def test_calls_of_functions_in_every_form(message):
    turns = [USER, message, {"role": "observation", "content": "Friday"}, BOT]
    row = read([{"messages": turns, "tools": json.dumps([{"name": "track", "parameters": {}}])}])[0]
    assert row.messages[1].tool_calls == WANTED
    assert row.messages[2].role == "tool"
    assert row.tools == ({"type": "function", "function": {"name": "track", "parameters": {}}},)


def test_calls_that_follow_each_other_are_one_turn_and_ids_stay():
    calls = [{"role": "tool_call", "content": json.dumps({"name": name, "arguments": {}})} for name in ("one", "two")]
    row = read([{"messages": [USER, *calls, {"role": "tool", "content": "x", "tool_call_id": "c1", "name": "one"}, BOT]}])[0]
    assert [call["function"]["name"] for call in row.messages[1].tool_calls] == ["one", "two"]
    assert (row.messages[2].tool_call_id, row.messages[2].name) == ("c1", "one")
    with_id = {"role": "assistant", "tool_calls": [{"id": "c1", "function": CALL}]}
    assert read([{"messages": [USER, with_id]}])[0].messages[1].tool_calls[0]["id"] == "c1"


@pytest.mark.parametrize(("key", "value", "wanted"), [("train", False, False), ("weight", 0, False), ("loss", True, True)])
def test_a_message_may_say_whether_it_is_learnt(key, value, wanted):
    row = read([{"messages": [USER, {**BOT, key: value}]}])[0]
    assert row.messages[1].is_trained is wanted
    assert row.messages[0].is_trained is None


def test_thoughts_that_are_kept_apart_stay():
    row = read([{"messages": [USER, {**BOT, "reasoning_content": "hm"}]}])[0]
    assert row.messages[1] == Message("assistant", "b", reasoning="hm")
    assert row.messages[1].for_template()["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"messages": [{"role": "narrator", "content": "a"}, BOT]}, "message 1: unknown role 'narrator'"),
        ({"messages": [{"content": "a"}, BOT]}, "message 1: no `role`"),
        ({"messages": [USER]}, "no assistant message, so nothing to learn"),
        ({"messages": [USER, {"role": "assistant", "content": "  "}]}, "the answer is empty"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "the answer is empty"),
        ({"messages": [{"role": "user"}, BOT]}, "message 1: no `content`"),
        ({"messages": ["a", "b"]}, "message 1: wanted an object with role and content, found str"),
        ({"messages": 7}, "wanted a list of messages in 'messages', found int"),
        ({"messages": None}, "wanted a list of messages in 'messages', found nothing"),
        ({"messages": []}, "no message in 'messages'"),
        ({"messages": '[{"role": "user", "content"'}, "'messages' is no valid JSON"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, BOT]}, "found image_url; pictures and sound"),
        ({"messages": [USER, {**BOT, "weight": 0.5}]}, "message 2: wanted true or false in `weight`, found 0.5"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{x"}}]}]},
            "message 2: the arguments of 'f' are no valid JSON",
        ),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"arguments": {}}]}]}, "wanted a tool call with the name"),
        ({"messages": [{"role": "user", "content": "a\x00"}, BOT]}, "a NUL character in the content of message 1"),
        ({"messages": [{"role": "user", "content": "a\ud800"}, BOT]}, "half of a surrogate pair"),
        ({"messages": [USER, BOT], "tools": "no list"}, "wanted a list of tools"),
        ({"prompt": "a", "completion": ""}, "the answer is empty"),
        ({"prompt": " ", "completion": "b"}, "the prompt is empty"),
        ({"prompt": "a", "completion": ["b", "c"]}, "wanted parts of type text in the answer, found str"),
        ({"prompt": "a", "completion": {"x": 1}}, "wanted text in the answer, found dict"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "wanted `history` as"),
        ({"text": ""}, "the text is empty"),
        ({"input_ids": [1, 2], "labels": [1]}, "2 token ids, but 1 values of 'labels'"),
        ({"input_ids": [1, 2], "labels": [-100, 3]}, "`labels` differ from `input_ids`"),
        ({"input_ids": [1, 2], "labels": [-100, -100]}, "no token to learn"),
        ({"input_ids": [1, 2], "completion_mask": [0, 2]}, "wanted 0 or 1"),
        ({"input_ids": "a b"}, "wanted a list of whole numbers in 'input_ids'"),
        ({"input_ids": [1, -2]}, "a negative token id"),
    ],
)
def test_a_fault_names_its_row_and_can_be_left_out(row, what):
    usual = {"messages": [USER, BOT], "input_ids": [3, 4], "labels": [-100, 4], "completion_mask": [0, 1]}
    good = {key: usual.get(key) for key in row}
    good |= {key: "x" for key, value in good.items() if value is None and key not in ("tools", "history")}
    with pytest.raises(UserError) as error:
        read([good, row])
    assert "row 2: " in str(error.value)
    assert what in str(error.value)
    assert error.value.code == ExitCode.BAD_DATA
    rows, notes = dataset_module.read_rows(
        to_table([good, row]), options=DataConfig(skip_invalid_rows=True), row_kind="conversation"
    )
    assert [one.where for one in rows] == ["row 1"]
    assert any(note.startswith("1 row dropped: row 2: ") for note in notes)


def test_answers_to_choose_from():
    rows = read(
        [
            {"question": "2+2?", "choices": ["3", "4"], "answer": 1},
            {"question": "2+2?", "choices": {"text": ["3", "4"], "label": ["A", "B"]}, "answer": "B"},
            {"question": "2+2?", "choices": '["3", "5"]', "answer": "5"},
        ]
    )
    assert [row.label for row in rows] == ["4", "4", "5"]
    assert rows[0].choices == ("3", "4")
    assert rows[0].text == "2+2?\nA. 3\nB. 4"
    with pytest.raises(UserError, match="the answer 'E' is none of the 2 choices"):
        read([{"question": "2+2?", "choices": ["3", "4"], "answer": "E"}])


def test_tokens():
    rows = read([{"input_ids": [5, 6, 7], "labels": [-100, -100, 7]}, {"input_ids": [5, 6], "labels": [5, 6]}])
    assert rows[0].ids == (5, 6, 7)
    assert rows[0].trained == (False, False, True)
    assert rows[1].trained == (False, True)  # nothing stands before the first
    assert read([{"input_ids": "[5, 6]", "completion_mask": "[0, 1]"}])[0].trained == (False, True)
    assert read([{"input_ids": [5, 6]}])[0].trained == (False, True)


LABELLED = [{"text": f"some text {number}", "label": "ab"[number % 2]} for number in range(30)]


@pytest.mark.parametrize(
    ("rows", "options", "kind"),
    [
        (LABELLED, {}, "labelled"),
        ([{"question": row["text"], "label": row["label"]} for row in LABELLED], {}, "labelled"),
        ([{"question": row["text"], "answer": row["label"]} for row in LABELLED], {}, "labelled"),
        ([{"text": row["text"], "kind": row["label"]} for row in LABELLED], {}, "labelled"),
        ([{"query": row["text"], "target": row["label"]} for row in LABELLED], {}, "labelled"),
        ([{"prompt": row["text"], "completion": row["label"]} for row in LABELLED], {}, "conversation"),
        (
            [{"instruction": row["text"], "response": f"so {row['text']}", "category": row["label"]} for row in LABELLED],
            {},
            "conversation",
        ),
        ([{"prompt": "a", "completion": "b", "team": "x"}], {"label_column": "team"}, "labelled"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], {}, "preference"),
        ([{"prompt": "a", "completion": "b", "label": True}], {}, "preference"),
        ([{"premise": "a", "hypothesis": "b", "label": 0}], {}, "labelled"),
        ([{"text": row["text"]} for row in LABELLED], {}, "conversation"),
        ([{"text": row["text"], "id": place} for place, row in enumerate(LABELLED)], {}, "conversation"),
        ([{"sentence": "a", "x": 1}], {}, "labelled"),
        ([{"a": "x", "b": "y"}], {"prompt_column": "a", "answer_column": "b"}, "conversation"),
    ],
)
def test_what_the_rows_of_a_table_are(rows, options, kind):
    found, reason = dataset_module.detect_row_kind(to_table(rows), options=DataConfig(**options))
    assert found == kind
    assert reason


def test_a_table_without_any_known_columns_is_refused():
    with pytest.raises(UserError, match="no columns of conversations; the columns are x, y") as error:
        read([{"x": "a", "y": "b"}])
    assert "--prompt-column NAME --answer-column NAME" in error.value.fix


def test_two_columns_of_one_name_are_no_fault_of_other_tasks(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,prompt,completion\na,b,c\n")
    assert dataset_module.detect_row_kind(tmp_path / "a.csv", options=DataConfig())[0] == "labelled"
    with pytest.raises(UserError, match="two columns are named 'prompt'"):
        dataset_module.read_rows(tmp_path / "a.csv", options=DataConfig(), row_kind="conversation")


def test_arrays_of_a_table_in_memory():
    """As pandas gives them for the lists of a Parquet file."""
    parts = np.array([{"type": "text", "text": "a"}], dtype=object)
    messages = np.array([{"role": "user", "content": parts}, BOT], dtype=object)
    assert said(read([{"messages": messages}])[0]) == AB
    history = np.empty(1, dtype=object)
    history[0] = np.array(["x", "y"], dtype=object)
    row = {"instruction": "a", "output": "b", "history": history}
    assert said(read([row])[0]) == [("user", "x"), ("assistant", "y"), *AB]
    assert read([{"input_ids": np.array([5, 6])}])[0].ids == (5, 6)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"role": "user", "content": [{"type": "text", "text": "a\x00"}]}, "a NUL character in the content of message 1"),
        ({"role": "user", "content": [{"text": "a\ud83d"}]}, "half of a surrogate pair: the content of message 1"),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "\ud83d"},
            "half of a surrogate pair: the reasoning of message 1",
        ),
        ({"role": "assistant", "content": "a", "thinking": "\x00"}, "a NUL character in the reasoning of message 1"),
        ({"role": "tool", "content": "a", "name": "a\x00"}, "a NUL character in the name of message 1"),
        ({"role": "tool", "content": "a", "tool_call_id": "\ud83d"}, "half of a surrogate pair: the tool_call_id of message 1"),
        (
            {"role": "assistant", "tool_calls": [{"name": "a\ud83d"}]},
            "half of a surrogate pair: the name of a function in message 1",
        ),
        (
            {"role": "assistant", "tool_calls": [{"name": "a", "arguments": {"b": ["\ud83d"]}}]},
            "half of a surrogate pair: the arguments of 'a' in message 1",
        ),
        ({"role": "assistant", "tool_calls": [{"id": "\x00", "function": {"name": "a"}}]}, "a NUL character in the id of a call"),
    ],
)
def test_every_text_of_a_message_is_checked(message, what):
    with pytest.raises(UserError, match=f"row 1: {what}"):
        read([{"messages": [message, BOT]}])


def test_joined_calls_lose_nothing():
    first = {"role": "assistant", "reasoning_content": "One.", "tool_calls": [CALL], "name": "helper"}
    second = {"role": "assistant", "reasoning_content": "Two.", "tool_calls": [CALL], "tool_call_id": "c2"}
    message = read([{"messages": [USER, first, second, BOT]}])[0].messages[1]
    assert message.tool_calls == (*WANTED, *WANTED)
    assert (message.reasoning, message.name, message.tool_call_id) == ("One.\n\nTwo.", "helper", "c2")
    apart = read([{"messages": [USER, first, {**second, "name": "another"}, BOT]}])[0].messages
    assert [one.name for one in apart[1:3]] == ["helper", "another"]


@pytest.mark.parametrize("text", ['{"team": "x"}', '["a", 1]', '[{"team": "x"}]', '{"messages": []}', "[", "[]"])
def test_texts_that_are_json_are_no_messages(text):
    assert said(read([{"prompt": text, "completion": "b"}])[0])[0] == ("user", text)
    assert said(read([{"prompt": [USER], "completion": text}])[0])[1] == ("assistant", text)


QA = [{"question": f"why is it so {number}?", "answer": f"because of reason {number}"} for number in range(40)]


def test_questions_with_answers_and_a_label_that_may_be_of_the_question_alone_are_asked_about():
    rows = [{**row, "topic": "ab"[place % 2]} for place, row in enumerate(QA)]
    with pytest.raises(UserError, match="the answers may be what is learnt, or 'topic' of the pairs") as caught:
        dataset_module.detect_row_kind(to_table(rows), options=DataConfig())
    assert caught.value.fix == "--task text-generation for the answers, --label-column topic for that column"
    assert dataset_module.detect_row_kind(to_table(rows), options=DataConfig(label_column="topic"))[0] == "labelled"
    assert len(dataset_module.read_rows(to_table(rows), options=DataConfig(), row_kind="conversation")[0]) == 40
    judged = [{**row, "label": place % 2} for place, row in enumerate(QA)]
    assert dataset_module.detect_row_kind(to_table(judged), options=DataConfig())[0] == "labelled"


def test_several_columns_that_are_called_labels_are_asked_about():
    rows = [{"text": row["text"], "coarse_label": n % 2, "fine_label": n % 3} for n, row in enumerate(LABELLED)]
    with pytest.raises(UserError, match="the label may be 'coarse_label' or 'fine_label'") as caught:
        dataset_module.detect_row_kind(to_table(rows), options=DataConfig())
    assert "--label-column coarse_label" in caught.value.fix
    assert "--task text-generation" in caught.value.fix
    about = [{"text": row["text"], "source": "ab"[n % 2], "language": "cd"[n % 2]} for n, row in enumerate(LABELLED)]
    assert dataset_module.detect_row_kind(to_table(about), options=DataConfig())[0] == "conversation"


ANSWERED = [{"prompt": one["question"], "response": one["answer"]} for one in QA]


def test_answers_with_a_label_are_asked_about():
    judged = to_table([{**row, "label": place % 2 == 0} for place, row in enumerate(ANSWERED)])
    with pytest.raises(
        UserError, match="'label' beside prompts with answers .*: what is learnt may be the answers, or"
    ) as caught:
        dataset_module.detect_row_kind(judged, options=DataConfig())
    assert caught.value.fix == (
        "--task text-generation for all answers, --task preference if 'label' says whether an answer is good, "
        "--task text-classification --text-column prompt --text-column response --label-column label to predict it"
    )
    for kind in ("conversation", "preference"):
        assert len(dataset_module.read_rows(judged, options=DataConfig(), row_kind=kind)[0]) == 40
    named = DataConfig(text_column=("prompt", "response"), label_column="label")
    assert len(dataset_module.read_rows(judged, options=named, row_kind="labelled")[0]) == 40
    classes = to_table([{**row, "label": ("safe", "rude", "wrong")[place % 3]} for place, row in enumerate(ANSWERED)])
    with pytest.raises(UserError, match="what is learnt may be the answers") as caught:
        dataset_module.detect_row_kind(classes, options=DataConfig())
    assert "preference" not in caught.value.fix
    free = to_table([{**row, "label": f"remark {place}"} for place, row in enumerate(ANSWERED)])
    assert dataset_module.detect_row_kind(free, options=DataConfig())[0] == "conversation"


def test_judged_conversations_are_asked_about_unless_the_column_says_what_it_is():
    judged = [{"messages": [USER, BOT], "label": bool(place % 2)} for place in range(10)]
    with pytest.raises(UserError, match="'label' beside chat data") as caught:
        dataset_module.detect_row_kind(to_table(judged), options=DataConfig())
    assert caught.value.fix.endswith("--task preference if 'label' says whether an answer is good")
    tagged = [{"messages": row["messages"], "kto_tag": row["label"]} for row in judged]
    assert dataset_module.detect_row_kind(to_table(tagged), options=DataConfig())[0] == "preference"


def test_beginnings_with_endings_to_choose_from():
    """HellaSwag's columns: the label is the number of the right ending."""
    endings = ["sits down.", "flies away.", "melts.", "sings."]
    row = {"ind": 4, "activity_label": "Resting", "ctx_a": "A man", "ctx": "A man is tired. He", "endings": endings, "label": "2"}
    for given in (row, {**row, "endings": json.dumps(endings), "label": 2}, {**row, "endings": str(endings)}):
        table = to_table([given] * 3)
        kind, reason = dataset_module.detect_row_kind(table, options=DataConfig())
        assert (kind, "beginnings with endings to choose from ('ctx', 'endings')" in reason) == ("conversation", True)
        found = dataset_module.read_rows(table, options=DataConfig(), row_kind="conversation")[0][0]
        assert said(found)[1] == ("assistant", "melts.")
        assert found.choices == tuple(endings)
    with pytest.raises(UserError, match="the answer '7' is none of the 4 choices, nor a letter or number of one, from 0 on"):
        read([{**row, "label": "7"}])


def test_answers_that_seem_to_count_from_1_are_refused_whatever_is_skipped():
    rows = [
        {"question": f"Which {number}?", "choices": ["red", "green", "blue"], "answer": number % 3 + 1} for number in range(6)
    ]
    with pytest.raises(UserError, match="'answer' has numbers of choices of which none is 0") as caught:
        read(rows, skip_invalid_rows=True)
    assert "subtract 1" in caught.value.fix
    assert len(read([{**row, "answer": row["answer"] - 1} for row in rows])) == 6
    words = [{**row, "choices": ["1", "2", "3"]} for row in rows]
    assert len(read(words)) == 6, "the answers are the choices themselves"
